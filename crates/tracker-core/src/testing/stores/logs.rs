//! Log messages are kept and read back.

use std::sync::Arc;

use super::{Tested, all, is_paged};
use crate::event::{Event, EventKind};
use crate::fields::MAX_TEXT;
use crate::group::Change;
use crate::json;
use crate::list::Page;
use crate::log::{LogBatch, LogDeploymentId, LogMessage};
use crate::testing::{logs, new_id};
use crate::time;

pub fn keep(logs: &LogBatch) -> Change {
    Change::KeepLogs(vec![Arc::new(Event::new(EventKind::Logged(logs.clone()), time::now(), None))])
}

/// A batch of one message, for a deployment of any name.
pub fn named(name: &str) -> LogBatch {
    let body = json::read(br#"{"message":"m"}"#).expect("valid JSON");
    LogBatch::read(LogDeploymentId::new(name).expect("valid id"), body).expect("valid message")
}

pub async fn are_kept(store: &Tested<'_>) {
    let id = new_id();
    let body = r#"[{"message":"Zoë \u2028 \ud83d\ude00 </x>","f":1.0,"i":123456789012345678901,"o":{"a":[1e-7]}},{"message":""}]"#;
    let first = logs(id, body);
    let second =
        logs(id, &format!(r#"[{{"message":"{}","index":"mine"}},{{"message":" four "}}]"#, "x".repeat(65_536)));
    // The batch received first commits last.
    store.commit(vec![keep(&second)]).await;
    store.commit(vec![keep(&first)]).await;
    let kept = store.logs(id.into(), all()).await.records;
    let sent: Vec<_> = first.messages.iter().chain(&second.messages).collect();
    assert_eq!(kept.len(), sent.len(), "every message is kept");
    for (kept, sent) in kept.iter().zip(sent) {
        assert_eq!(
            (kept.event_id, kept.received_at, kept.object().get()),
            (sent.event_id, sent.received_at, sent.object().get()),
            "messages are listed in the order of receipt, each as it was sent"
        );
    }
    is_paged(|page| store.logs(id.into(), page)).await;
    let after = Some(LogMessage::first_id(kept[0].received_at));
    let rest = store.logs(id.into(), Page { after, ..all() }).await.records;
    assert_eq!(rest.len(), kept.len(), "a cursor need not match a message");
    let unknown = LogDeploymentId::new("nope").expect("valid id");
    assert!(store.logs(unknown, all()).await.records.is_empty(), "an unknown deployment has no messages");
}

pub async fn are_distinct(store: &Tested<'_>) {
    let long = "\u{1F600}".repeat(MAX_TEXT - 1);
    let (long_a, long_b) = (long.clone() + "a", long + "b");
    let similar: Vec<_> = ["job k", "Job k", "job \u{212A}", "job k ", &long_a, &long_b].map(named).into();
    store.commit(similar.iter().map(keep).collect()).await;
    for batch in similar {
        let kept = store.logs(batch.deployment_id.clone(), all()).await.records;
        let ids: Vec<_> = kept.iter().map(|message| message.event_id).collect();
        assert_eq!(ids, [batch.messages[0].event_id], "`{}` is distinct from similar names", batch.deployment_id);
    }
}
