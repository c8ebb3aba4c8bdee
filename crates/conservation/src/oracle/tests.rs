//! The oracle finds each kind of violation, and none where there is none.

use serde_json::{Value, json};

use super::{Outcome, Verdict};
use crate::ledger::{Deployment, Fate, Post, Report, ServerReports};

const ID: &str = "84e803f7-9562-4d95-b828-25b167aea34b";

/// A deployment whose requests were acknowledged, except one refused post, and the outcome without any violation.
fn correct() -> (Deployment, Outcome) {
    let report = |body| Report { body, fate: Fate::Acknowledged };
    let post = |messages: &[&str], fate| {
        let messages = messages.iter().map(|message| json!({ "message": message, "n": 1.5 })).collect();
        Post { messages, fate }
    };
    let mut deployment = Deployment {
        id: ID.to_owned(),
        start: report(json!({ "engine": "e" })),
        servers: vec![ServerReports {
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
    (deployment, Outcome { records: [(ID.to_owned(), record)].into(), elements, others: Vec::new(), metrics })
}

/// The counts of each kind of violation, in the order of [`super::Kind`], after a change of the correct outcome.
fn counts(change: impl FnOnce(&mut Outcome)) -> [u64; 6] {
    let (deployment, mut outcome) = correct();
    change(&mut outcome);
    let verdict = Verdict::on(&[deployment], &outcome);
    let Verdict { counts, violations } = verdict;
    assert_eq!(violations.is_empty(), counts.iter().sum::<u64>() == 0, "{violations:?}");
    counts
}

fn record(outcome: &mut Outcome) -> &mut Value {
    outcome.records.get_mut(ID).expect("the outcome has this record")
}

#[test]
fn a_correct_outcome_has_no_violation() {
    assert_eq!(counts(|_| {}), [0; 6]);
}

#[test]
fn a_missing_element_record_or_field_is_lost() {
    for index in 0..4 {
        assert_eq!(counts(|outcome| drop(outcome.elements.remove(index)))[0], 1, "element {index}");
    }
    assert_eq!(counts(|outcome| drop(outcome.elements.drain(1..3)))[0], 2, "both messages of a post");
    assert_eq!(counts(|outcome| outcome.records.clear())[0], 1);
    assert_eq!(counts(|outcome| record(outcome)["servers"] = json!([]))[0], 1);
    assert_eq!(counts(|outcome| record(outcome)["servers"][0]["result"] = Value::Null)[0], 1);
    assert_eq!(counts(|outcome| record(outcome)["result"] = json!("success"))[0], 1);
}

#[test]
fn a_repeated_element_or_event_id_is_there_twice() {
    for index in 0..4 {
        assert_eq!(counts(|outcome| outcome.elements.push(outcome.elements[index].clone()))[1], 1, "{index}");
    }
    assert_eq!(
        counts(|outcome| outcome.elements[1]["event_id"] = json!("3")),
        [0, 1, 0, 0, 0, 0],
        "two elements with one event_id"
    );
}

#[test]
fn a_changed_or_added_field_is_altered() {
    for index in 1..3 {
        assert_eq!(counts(|outcome| outcome.elements[index]["n"] = json!(2)), [0, 0, 1, 0, 0, 0]);
        assert_eq!(counts(|outcome| outcome.elements[index]["more"] = json!(2)), [0, 0, 1, 0, 0, 0]);
    }
    assert_eq!(counts(|outcome| outcome.elements[0]["engine"] = json!("other")), [0, 0, 1, 0, 0, 0]);
    assert_eq!(counts(|outcome| record(outcome)["servers"][0]["ip_address"] = json!("::2")), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn an_element_or_record_that_was_not_sent_or_was_refused_is_unexpected() {
    for message in ["refused", "never sent"] {
        let element = |outcome: &Outcome| {
            let mut element = outcome.elements[1].clone();
            (element["message"], element["event_id"]) = (json!(message), json!("5"));
            element
        };
        assert_eq!(counts(|outcome| outcome.elements.push(element(outcome))), [0, 0, 0, 1, 0, 0]);
    }
    assert_eq!(
        counts(|outcome| outcome.elements.push(json!({ "deployment_id": "x", "event_id": "5" }))),
        [0, 0, 0, 1, 0, 0]
    );
    assert_eq!(counts(|outcome| drop(outcome.records.insert("x".into(), json!({})))), [0, 0, 0, 1, 0, 0]);
}

#[test]
fn swapped_elements_are_out_of_order() {
    assert_eq!(counts(|outcome| outcome.elements.swap(0, 1)), [0, 0, 0, 0, 1, 0]);
    assert_eq!(counts(|outcome| outcome.elements.swap(2, 3)), [0, 0, 0, 0, 1, 0]);
    assert_eq!(counts(|outcome| outcome.elements.swap(1, 2))[4], 2, "of the post, and of the acknowledgements");
}

#[test]
fn a_counter_above_its_events_is_overcounted() {
    for metric in ["dt.deployments.started:1|c", "dt.deployments.success:1|c", "dt.logs.message:1|c"] {
        assert_eq!(counts(|outcome| outcome.metrics.push(metric.into())), [0, 0, 0, 0, 0, 1]);
    }
    assert_eq!(counts(|outcome| outcome.metrics.push("dt.servers.hostname.h.started:2|c".into()))[5], 1);
}
