//! The oracle notices whatever is made wrong.

use serde_json::{Value, json};

use super::{Outcome, Verdict};
use crate::ledger::{Deployment, Fate, Post, Report, Visit};

const ID: &str = "84e803f7-9562-4d95-b828-25b167aea34b";

/// One deployment of which everything was acknowledged but a post that was refused, and what has to be there then.
fn conserved() -> (Deployment, Outcome) {
    let report = |body| Report { body, fate: Fate::Acknowledged };
    let post = |messages: &[&str], fate| {
        let messages = messages.iter().map(|message| json!({ "message": message, "n": 1.5 })).collect();
        Post { messages, fate }
    };
    let mut deployment = Deployment {
        id: ID.to_owned(),
        start: report(json!({ "engine": "e" })),
        visits: vec![Visit {
            hostname: "h".into(),
            start: report(json!({ "hostname": "h", "ip_address": "::1" })),
            finish: Some(report(json!({ "hostname": "h", "result": "success", "elapsed_seconds": 1 }))),
        }],
        posts: vec![post(&["a", "b"], Fate::Acknowledged), post(&["refused"], Fate::Refused)],
        finish: Some(report(json!({ "result": "failure", "assert_empty_server_result": false }))),
        acknowledged: Vec::new(),
    };
    let (start, end) = (deployment.start_message(), deployment.end_message());
    deployment.acknowledged = [&start, "a", "b", &end].map(str::to_owned).to_vec();
    let log = |message, event| {
        json!({ "message": message, "n": 1.5, "event_id": event, "deployment_id": ID, "index": "deployment-tracker",
            "@timestamp": "t", "@version": "1" })
    };
    let elements = vec![
        json!({ "message": start, "event_id": 1.to_string(), "deployment_id": ID, "engine": "e" }),
        log("a", "2"),
        log("b", "3"),
        json!({ "message": end, "event_id": "4", "deployment_id": ID, "engine": "e", "result": "failure" }),
    ];
    let server = json!({ "hostname": "h", "ip_address": "::1", "result": "success", "elapsed_seconds": 1 });
    let record = json!({ "deployment_id": ID, "engine": "e", "result": "failure", "servers": [server] });
    let metrics = ["dt.deployments.started:1|c", "dt.deployments.failure:1|c", "dt.logs.message:2|c"];
    let metrics = metrics.map(str::to_owned).to_vec();
    (deployment, Outcome { records: [(ID.to_owned(), record)].into(), elements, metrics })
}

/// The verdict's figures after `change`, in the order in which they are declared.
fn metrics(change: impl FnOnce(&mut Outcome)) -> [u64; 6] {
    let (deployment, mut outcome) = conserved();
    change(&mut outcome);
    let verdict = Verdict::on(&[deployment], &outcome);
    let Verdict { lost, twice, altered, unasked, disordered, overcounted, violations } = verdict;
    let metrics = [lost, twice, altered, unasked, disordered, overcounted];
    assert_eq!(violations.is_empty(), metrics.iter().sum::<u64>() == 0, "{violations:?}");
    metrics
}

fn record(outcome: &mut Outcome) -> &mut Value {
    outcome.records.get_mut(ID).expect("it is on record")
}

#[test]
fn what_is_conserved_is_not_held_against_anybody() {
    assert_eq!(metrics(|_| {}), [0; 6]);
}

#[test]
fn what_is_lost_is_noticed() {
    for place in 0..4 {
        assert_eq!(metrics(|outcome| drop(outcome.elements.remove(place)))[0], 1, "the element {place}");
    }
    assert_eq!(metrics(|outcome| drop(outcome.elements.drain(1..3)))[0], 2, "a dropped batch");
    assert_eq!(metrics(|outcome| outcome.records.clear())[0], 1);
    assert_eq!(metrics(|outcome| record(outcome)["servers"] = json!([]))[0], 1);
    assert_eq!(metrics(|outcome| record(outcome)["servers"][0]["result"] = Value::Null)[0], 1);
    assert_eq!(metrics(|outcome| record(outcome)["result"] = json!("success"))[0], 1);
}

#[test]
fn what_comes_twice_is_noticed() {
    for place in 0..4 {
        assert_eq!(metrics(|outcome| outcome.elements.push(outcome.elements[place].clone()))[1], 1, "{place}");
    }
    assert_eq!(metrics(|outcome| outcome.elements[1]["event_id"] = json!("3")), [0, 1, 0, 0, 0, 0], "one id for two");
}

#[test]
fn what_is_altered_is_noticed() {
    for place in 1..3 {
        assert_eq!(metrics(|outcome| outcome.elements[place]["n"] = json!(2)), [0, 0, 1, 0, 0, 0]);
        assert_eq!(metrics(|outcome| outcome.elements[place]["more"] = json!(2)), [0, 0, 1, 0, 0, 0]);
    }
    assert_eq!(metrics(|outcome| outcome.elements[0]["engine"] = json!("other")), [0, 0, 1, 0, 0, 0]);
    assert_eq!(metrics(|outcome| record(outcome)["servers"][0]["ip_address"] = json!("::2")), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn what_nobody_sent_or_was_refused_is_noticed() {
    for message in ["refused", "nobody sent this"] {
        let element = |outcome: &Outcome| {
            let mut element = outcome.elements[1].clone();
            (element["message"], element["event_id"]) = (json!(message), json!("5"));
            element
        };
        assert_eq!(metrics(|outcome| outcome.elements.push(element(outcome))), [0, 0, 0, 1, 0, 0]);
    }
    assert_eq!(
        metrics(|outcome| outcome.elements.push(json!({ "deployment_id": "x", "event_id": "5" }))),
        [0, 0, 0, 1, 0, 0]
    );
    assert_eq!(metrics(|outcome| drop(outcome.records.insert("x".into(), json!({})))), [0, 0, 0, 1, 0, 0]);
}

#[test]
fn what_is_out_of_order_is_noticed() {
    assert_eq!(metrics(|outcome| outcome.elements.swap(0, 1)), [0, 0, 0, 0, 1, 0]);
    assert_eq!(metrics(|outcome| outcome.elements.swap(2, 3)), [0, 0, 0, 0, 1, 0]);
    assert_eq!(metrics(|outcome| outcome.elements.swap(1, 2))[4], 2, "the batch itself, too");
}

#[test]
fn what_is_counted_too_often_is_noticed() {
    for metric in ["dt.deployments.started:1|c", "dt.deployments.success:1|c", "dt.logs.message:1|c"] {
        assert_eq!(metrics(|outcome| outcome.metrics.push(metric.into())), [0, 0, 0, 0, 0, 1]);
    }
    assert_eq!(metrics(|outcome| outcome.metrics.push("dt.servers.hostname.h.started:2|c".into()))[5], 1);
}
