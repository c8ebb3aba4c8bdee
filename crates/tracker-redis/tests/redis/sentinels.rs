//! Sentinels: the master that they name is found, and the next one after a failover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use test_servers::{Certificates, Sentinels};
use tracker_core::{Output, chain};
use tracker_redis::{RedisConfig, Secret, Sentinel, Tls};

use crate::{Reports, config, many, messages, numbers, output};

fn way_in(sentinels: &Sentinels) -> RedisConfig {
    let sentinel = |port| Sentinel { host: "127.0.0.1".into(), port };
    RedisConfig {
        sentinels: sentinels.sentinels.iter().map(|each| sentinel(each.port)).collect(),
        master_name: Some("main".into()),
        sentinel_password: Some(Secret::new(Sentinels::PASSWORD)),
        ..config(&sentinels.servers[0])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_master_is_killed_the_new_one_has_each_element_once() {
    let certificates = Certificates::new();
    let mut sentinels = Sentinels::start(Some(&certificates));
    let tls = Tls { server_name: Some("localhost".into()), ..crate::tls::ours(&certificates) };
    let config = RedisConfig { tls: Some(tls), wait_replicas: 1, ..way_in(&sentinels) };
    let output = Arc::new(output(config));
    let reports = Reports::start(output.clone());
    tokio::task::block_in_place(|| sentinels.servers[0].wait_for(100));
    sentinels.servers[0].kill();

    let begun = Instant::now();
    output.check().await.expect_err("there is no master");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let master = tokio::task::block_in_place(|| {
        let master = sentinels.new_master();
        master.wait_for(master.elements().len() + 100);
        master
    });
    output.check().await.expect("there is a master");
    let acknowledged = reports.end().await;
    assert!(numbers(master.elements()).into_iter().eq(0..acknowledged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_to_be_replaced_is_left_before_it_knows() {
    let sentinels = Sentinels::start(None);
    let reports = Reports::start(Arc::new(output(way_in(&sentinels))));
    let old = &sentinels.servers[0];
    tokio::task::block_in_place(|| {
        old.wait_for(100);
        sentinels.sentinels[0].command(&["SENTINEL", "FAILOVER", "main"]).expect("a failover");
        let new = sentinels.new_master();
        new.wait_for(new.elements().len() + 100);
    });
    assert_eq!(old.command(&["ROLE"])[0], "master", "it was not told yet");
    reports.end().await;
}

#[tokio::test]
async fn sentinels_that_are_away_or_frozen_hold_nothing_up_and_what_is_wrong_is_said() {
    let sentinels = Sentinels::start(None);
    let mut right = way_in(&sentinels);
    right.sentinels[2].port = 1;
    sentinels.sentinels[0].freeze();
    let working = output(right.clone());
    let begun = Instant::now();
    working.deliver(&[many(0..1)]).await.expect("pushed");
    working.check().await.expect("there");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(messages(&sentinels.servers[0]), [0]);

    right.sentinels.remove(0);
    right.sentinels.truncate(1);
    for (config, reason) in [
        (RedisConfig { master_name: Some("other".into()), ..right.clone() }, "there is no master `other`"),
        (RedisConfig { sentinel_password: Some(Secret::new("wrong")), ..right.clone() }, "WRONGPASS"),
        (RedisConfig { sentinel_password: None, ..right.clone() }, "NOAUTH"),
    ] {
        let error = chain(&output(config).check().await.expect_err("no way in"));
        let remedy = "check `redis.master_name`, `redis.sentinel_username` and `redis.sentinel_password`";
        assert!(error.contains(reason) && error.contains(remedy), "{error}");
        assert!(!error.contains("wrong") && !error.contains(Sentinels::PASSWORD), "{error}");
    }
    let lonely = output(RedisConfig { wait_replicas: 3, ..right });
    let error = chain(&lonely.deliver(&[many(1..2)]).await.expect_err("there are two"));
    assert!(error.contains("of the 3 replicas that `redis.wait_replicas` asks for, 2 have"), "{error}");
}
