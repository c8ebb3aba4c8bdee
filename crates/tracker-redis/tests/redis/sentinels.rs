//! Sentinel: the output finds the primary, and the next one after a failover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use test_servers::{Certificates, Sentinels};
use tracker_core::{Output, chain};
use tracker_redis::{Node, RedisConfig, Secret, Sentinel};

use crate::support::{Reports, config, numbered, numbers, output, pushed, with};

fn sentinel_config(sentinels: &Sentinels) -> RedisConfig {
    with(&config(&sentinels.servers[0]), |config| {
        config.sentinels = sentinels.sentinels.iter().map(|each| Sentinel::new("127.0.0.1", each.port)).collect();
        config.master_name = Some("main".into());
        config.sentinel_password = Some(Secret::new(Sentinels::PASSWORD));
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_primary_is_killed_the_new_one_has_each_element_once() {
    let certificates = Certificates::new();
    let mut sentinels = Sentinels::start(Some(&certificates));
    let mut tls = crate::tls::client_tls(&certificates);
    tls.server_name = Some("localhost".into());
    let config = with(&sentinel_config(&sentinels), |config| {
        config.tls = Some(tls);
        config.wait_replicas = 1;
    });
    let output = Arc::new(output(config));
    let reports = Reports::start(output.clone());
    tokio::task::block_in_place(|| sentinels.servers[0].wait_for(100));
    sentinels.servers[0].kill();

    let begun = Instant::now();
    output.check().await.expect_err("the primary was killed");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let primary = tokio::task::block_in_place(|| {
        let primary = sentinels.new_master();
        primary.wait_for(primary.elements().len() + 100);
        primary
    });
    output.check().await.expect("there is a new primary");
    let delivered = reports.end().await;
    assert!(numbers(primary.elements()).into_iter().eq(0..delivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_leaves_an_old_primary_before_the_failover_ends() {
    let sentinels = Sentinels::start(None);
    let reports = Reports::start(Arc::new(output(sentinel_config(&sentinels))));
    let old = &sentinels.servers[0];
    tokio::task::block_in_place(|| {
        old.wait_for(100);
        sentinels.sentinels[0].command(&["SENTINEL", "FAILOVER", "main"]).expect("Sentinel starts a failover");
        let new = sentinels.new_master();
        new.wait_for(new.elements().len() + 100);
    });
    assert_eq!(old.command(&["ROLE"])[0], "master", "the old primary does not know of the failover yet");
    reports.end().await;
}

#[tokio::test]
async fn sentinels_that_are_down_or_frozen_cause_no_delay_and_errors_name_the_field_to_check() {
    let sentinels = Sentinels::start(None);
    let mut right = sentinel_config(&sentinels);
    right.sentinels[2].port = 1;
    sentinels.sentinels[0].freeze();
    let working = output(right.clone());
    let begun = Instant::now();
    working.deliver(&[numbered(0..1)]).await.expect("one Sentinel answers");
    working.check().await.expect("one Sentinel answers");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(pushed(&sentinels.servers[0]), [0]);

    right.sentinels.remove(0);
    right.sentinels.truncate(1);
    for (config, reason) in [
        (with(&right, |config| config.master_name = Some("other".into())), "it knows no primary named `other`"),
        (with(&right, |config| config.sentinel_password = Some(Secret::new("wrong"))), "WRONGPASS"),
        (with(&right, |config| config.sentinel_password = None), "NOAUTH"),
    ] {
        let error = chain(&output(config).check().await.expect_err("Sentinel refuses"));
        let remedy = "check `master_name`, `sentinel_username` and `sentinel_password`";
        assert!(error.contains(reason) && error.contains(remedy), "{error}");
        assert!(!error.contains("wrong") && !error.contains(Sentinels::PASSWORD), "{error}");
    }
    let output = output(with(&right, |config| config.wait_replicas = 3));
    let error = chain(&output.deliver(&[numbered(1..2)]).await.expect_err("there are two replicas"));
    assert!(error.contains("2 of the 3 replicas that `wait_replicas` requires confirmed"), "{error}");
}

#[tokio::test]
async fn an_error_says_where_to_list_a_sentinel_and_a_redis_server() {
    let sentinels = Sentinels::start(None);
    let (server, sentinel) = (&sentinels.servers[0], &sentinels.sentinels[0]);
    let direct = with(&config(server), |config| {
        config.port = sentinel.port;
        config.password = Some(Secret::new(Sentinels::PASSWORD));
    });
    let cluster = with(&direct, |config| config.cluster = vec![Node::new("127.0.0.1", sentinel.port)]);
    let swapped = with(&sentinel_config(&sentinels), |config| {
        config.sentinels = vec![Sentinel::new("127.0.0.1", server.port)];
        config.sentinel_password = None;
    });
    for (config, remedy) in [
        (&direct, "if this is a Sentinel, list it in `sentinels`: ERR unknown command"),
        (&cluster, "if this is a Sentinel, list it in `sentinels`: ERR unknown command"),
        (&swapped, "list Sentinels in `sentinels`, instead of Redis servers"),
    ] {
        let output = output(config.clone());
        for result in [output.check().await, output.deliver(&[numbered(0..1)]).await] {
            let error = chain(&result.expect_err("it is another kind of server"));
            assert!(error.contains(remedy), "{error}");
        }
        assert_eq!(output.warning(), None);
    }
}
