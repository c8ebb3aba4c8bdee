//! Lanes commit independently.

use super::{Tested, start};
use crate::group::{Change, Outcome};
use crate::testing::{deployment_report, new_id};

pub async fn commit_independently(store: &Tested<'_>) {
    assert!(store.lanes() > 0, "a store has at least one lane");
    for lane in 0..store.lanes() {
        let id = new_id();
        let finish = || Change::FinishDeployment(deployment_report(id, r#"{"result":"success"}"#));
        for (change, outcome) in
            [(start(id), Outcome::Recorded), (finish(), Outcome::Recorded), (finish(), Outcome::Unchanged)]
        {
            assert_eq!(
                store.commit_in(lane, vec![change]).await.outcomes,
                [outcome],
                "lane {lane} commits and reads its own changes"
            );
        }
    }
    let last = store.lanes() - 1;
    if last > 0 {
        tokio::join!(store.commit_in(0, vec![start(new_id())]), store.commit_in(last, vec![start(new_id())]));
    }
}
