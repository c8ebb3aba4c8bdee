//! Groups that commit at the same time.

use super::{Tested, start};
use crate::group::{Change, Outcome};
use crate::testing::{deployment_report, new_id};

pub async fn commit_each(store: &Tested<'_>) {
    assert!(store.lanes() > 0);
    for lane in 0..store.lanes() {
        let id = new_id();
        let finish = || Change::FinishDeployment(deployment_report(id, r#"{"result":"success"}"#));
        for (change, outcome) in
            [(start(id), Outcome::Recorded), (finish(), Outcome::Recorded), (finish(), Outcome::Unchanged)]
        {
            assert_eq!(store.commit_in(lane, vec![change]).await.outcomes, [outcome], "lane {lane}");
        }
    }
    let last = store.lanes() - 1;
    if last > 0 {
        tokio::join!(store.commit_in(0, vec![start(new_id())]), store.commit_in(last, vec![start(new_id())]));
    }
}
