//! Log messages that are kept.

use std::sync::Arc;

use super::{Tested, all, is_paged};
use crate::event::{Event, EventKind};
use crate::fields::MAX_TEXT;
use crate::group::Change;
use crate::json;
use crate::log::{LogBatch, LogDeploymentId, LogMessage};
use crate::store::Page;
use crate::testing::{logs, new_id};
use crate::time;

pub fn keep(logs: &LogBatch) -> Change {
    Change::KeepLogs(Arc::new(Event::new(EventKind::Logged(logs.clone()), time::now(), None)))
}

/// One message under any name.
pub fn named(name: &str) -> LogBatch {
    let body = json::read(br#"{"message":"m"}"#).expect("JSON");
    LogBatch::read(LogDeploymentId::new(name).expect("a name"), body).expect("a message")
}

pub async fn are_kept(store: &Tested<'_>) {
    let id = new_id();
    let body = r#"[{"message":"Zoë \u2028 \ud83d\ude00 </x>","f":1.0,"i":123456789012345678901,"o":{"a":[1e-7]}},{"message":""}]"#;
    let first = logs(id, body);
    let second =
        logs(id, &format!(r#"[{{"message":"{}","index":"mine"}},{{"message":" four "}}]"#, "x".repeat(65_536)));
    // Whoever is held up on the way comes later.
    store.commit(vec![keep(&second)]).await;
    store.commit(vec![keep(&first)]).await;
    let kept = store.logs(id.into(), all()).await;
    let sent: Vec<_> = first.messages.iter().chain(&second.messages).collect();
    assert_eq!(kept.len(), sent.len());
    for (kept, sent) in kept.iter().zip(sent) {
        assert_eq!(
            (kept.event_id, kept.received_at, kept.object().get()),
            (sent.event_id, sent.received_at, sent.object().get())
        );
    }
    is_paged(|page| store.logs(id.into(), page), |message| message.event_id).await;
    let nobody = Some(LogMessage::first_id(kept[0].received_at));
    assert_eq!(store.logs(id.into(), Page { after: nobody, ..all() }).await.len(), kept.len());
    let unknown = LogDeploymentId::new("nope").expect("a name");
    assert!(store.logs(unknown, all()).await.is_empty());
}

pub async fn are_told_apart(store: &Tested<'_>) {
    let long = "\u{1F600}".repeat(MAX_TEXT - 1);
    let (long_a, long_b) = (long.clone() + "a", long + "b");
    let alike: Vec<_> = ["job k", "Job k", "job \u{212A}", "job k ", &long_a, &long_b].map(named).into();
    store.commit(alike.iter().map(keep).collect()).await;
    for batch in alike {
        let kept = store.logs(batch.deployment_id.clone(), all()).await;
        let ids: Vec<_> = kept.iter().map(|message| message.event_id).collect();
        assert_eq!(ids, [batch.messages[0].event_id], "{}", batch.deployment_id);
    }
}
