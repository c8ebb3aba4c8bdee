//! What breaks during a round.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::Value;

use crate::stack::Stack;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    ServerKilled,
    ServerTerminated,
    RedisKilled,
    RedisFrozen,
    RedisConnectionsCut,
    RedisOutOfMemory,
    RedisForbidsPushes,
    DatabaseStopped,
    DatabaseFrozen,
    DiskFull,
}

use Fault::{
    DatabaseFrozen, DatabaseStopped, DiskFull, RedisConnectionsCut, RedisForbidsPushes, RedisFrozen, RedisKilled,
    RedisOutOfMemory, ServerKilled, ServerTerminated,
};

/// Breaks things for `duration`, one at a time but for the server, which ends in the midst of other faults, too, and is
/// killed at least once. Only what is in `only` is broken, unless that is empty. At the end everything is whole. How
/// often each thing was broken.
pub fn inject(stack: &mut Stack, rng: &mut Rng, duration: Duration, only: &[Fault]) -> BTreeMap<Fault, u32> {
    let is_wanted = |fault: Fault| only.is_empty() || only.contains(&fault);
    let possible: Vec<_> =
        Fault::value_variants().iter().copied().filter(|fault| is_wanted(*fault) && fault.is_possible(stack)).collect();
    let begun = Instant::now();
    let mut injected = BTreeMap::new();
    let must_kill = |stack: &Stack| is_wanted(ServerKilled) && stack.kills == 0;
    while begun.elapsed() < duration || must_kill(stack) {
        pause(rng, 50..500);
        let fault = possible[rng.usize(..possible.len())];
        let server = match rng.u32(..6) {
            _ if begun.elapsed() > duration / 2 && must_kill(stack) => Some(ServerKilled),
            0 | 1 => Some(ServerKilled),
            2 => Some(ServerTerminated),
            _ => None,
        };
        fault.begin(stack);
        *injected.entry(fault).or_default() += 1;
        pause(rng, 100..1_500);
        let mut is_down = fault.ends_server();
        if let Some(server) = server.filter(|server| is_wanted(*server) && !is_down) {
            server.begin(stack);
            *injected.entry(server).or_default() += 1;
            pause(rng, 0..300);
            let restarted = stack.restart_server();
            is_down = restarted.is_err();
            // Without room it may refuse to start.
            if let (Err(error), false) = (restarted, fault == DiskFull) {
                stack.complaints.push(format!("during {fault:?}: {error}"));
            }
            pause(rng, 0..700);
        }
        fault.end(stack);
        if is_down && let Err(error) = stack.restart_server() {
            stack.complaints.push(format!("after {fault:?}: {error}"));
            break;
        }
    }
    injected
}

fn pause(rng: &mut Rng, millis: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(rng.u64(millis)));
}

impl Fault {
    fn ends_server(self) -> bool {
        matches!(self, ServerKilled | ServerTerminated)
    }

    fn is_possible(self, stack: &Stack) -> bool {
        match self {
            DatabaseStopped | DatabaseFrozen => stack.database.is_some(),
            DiskFull => stack.disk.is_some(),
            _ => true,
        }
    }

    fn begin(self, stack: &mut Stack) {
        match self {
            ServerKilled => stack.kill_server(),
            ServerTerminated => stack.terminate_server(),
            RedisKilled => stack.redis.kill(),
            RedisFrozen => stack.redis.freeze(),
            RedisConnectionsCut => drop(ask(stack, &["CLIENT", "KILL", "TYPE", "normal"])),
            RedisOutOfMemory => drop(ask(stack, &["CONFIG", "SET", "maxmemory", "1"])),
            RedisForbidsPushes => drop(ask(stack, &["ACL", "SETUSER", "default", "-rpush"])),
            DatabaseStopped => database(stack).stop(),
            DatabaseFrozen => database(stack).freeze(),
            DiskFull => stack.disk.as_ref().expect("it is possible").fill(),
        }
    }

    fn end(self, stack: &mut Stack) {
        match self {
            ServerKilled | ServerTerminated | RedisConnectionsCut => {}
            RedisKilled => stack.redis.restart(),
            RedisFrozen => stack.redis.thaw(),
            RedisOutOfMemory => drop(ask(stack, &["CONFIG", "SET", "maxmemory", "0"])),
            RedisForbidsPushes => drop(ask(stack, &["ACL", "SETUSER", "default", "+rpush"])),
            DatabaseStopped => database(stack).start(),
            DatabaseFrozen => database(stack).thaw(),
            DiskFull => stack.disk.as_ref().expect("it is possible").free(),
        }
    }
}

fn ask(stack: &Stack, command: &[&str]) -> Value {
    stack.redis.command(command)
}

fn database(stack: &mut Stack) -> &mut dyn test_servers::Database {
    stack.database.as_deref_mut().expect("it is possible")
}
