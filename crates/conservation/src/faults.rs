//! The faults that are injected during a round.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;

use crate::stack::Stack;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// The service is killed with SIGKILL and restarted
    ServerKilled,
    /// The service is ended with SIGTERM and restarted
    ServerTerminated,
    /// Redis is killed with SIGKILL and restarted
    RedisKilled,
    /// Redis is suspended with SIGSTOP
    RedisFrozen,
    /// Redis closes its client connections
    RedisConnectionsCut,
    /// Redis rejects writes because it is out of memory
    RedisOutOfMemory,
    /// Redis denies the permission to push
    RedisForbidsPushes,
    /// NATS is killed with SIGKILL and restarted
    NatsKilled,
    /// NATS is suspended with SIGSTOP
    NatsFrozen,
    /// The database server is stopped as by a crash, and restarted
    DatabaseStopped,
    /// The database server is suspended with SIGSTOP
    DatabaseFrozen,
    /// The disk of the SQLite database is full
    DiskFull,
}

use Fault::{
    DatabaseFrozen, DatabaseStopped, DiskFull, NatsFrozen, NatsKilled, RedisConnectionsCut, RedisForbidsPushes,
    RedisFrozen, RedisKilled, RedisOutOfMemory, ServerKilled, ServerTerminated,
};

/// Injects random faults for `duration`, and returns how often it injected each.
///
/// Faults follow one another, but the service may also be killed or terminated during another fault, and is killed at
/// least once. If `only` is not empty, no other faults are injected. All faults have ended when the function returns.
pub fn inject(stack: &mut Stack, rng: &mut Rng, duration: Duration, only: &[Fault]) -> BTreeMap<Fault, u32> {
    let is_wanted = |fault: Fault| only.is_empty() || only.contains(&fault);
    let possible: Vec<_> =
        Fault::value_variants().iter().copied().filter(|fault| is_wanted(*fault) && fault.is_possible(stack)).collect();
    let start = Instant::now();
    let mut injected = BTreeMap::new();
    let must_kill = |stack: &Stack| is_wanted(ServerKilled) && stack.kills == 0;
    while start.elapsed() < duration || must_kill(stack) {
        sleep(rng, 50..500);
        let fault = possible[rng.usize(..possible.len())];
        let second = match rng.u32(..6) {
            _ if start.elapsed() > duration / 2 && must_kill(stack) => Some(ServerKilled),
            0 | 1 => Some(ServerKilled),
            2 => Some(ServerTerminated),
            _ => None,
        };
        fault.begin(stack);
        *injected.entry(fault).or_default() += 1;
        sleep(rng, 100..1_500);
        let mut is_server_down = fault.ends_server();
        if let Some(second) = second.filter(|second| is_wanted(*second) && !is_server_down) {
            second.begin(stack);
            *injected.entry(second).or_default() += 1;
            sleep(rng, 0..300);
            let restarted = stack.restart_server();
            is_server_down = restarted.is_err();
            // On a full disk the service may refuse to start.
            if let (Err(error), false) = (restarted, fault == DiskFull) {
                stack.violations.push(format!("cannot restart the server during {fault:?}: {error}"));
            }
            sleep(rng, 0..700);
        }
        fault.end(stack);
        if is_server_down && let Err(error) = stack.restart_server() {
            stack.violations.push(format!("cannot restart the server after {fault:?}: {error}"));
            break;
        }
    }
    injected
}

fn sleep(rng: &mut Rng, millis: std::ops::Range<u64>) {
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
            NatsKilled | NatsFrozen => stack.nats.is_some(),
            RedisKilled | RedisFrozen | RedisConnectionsCut | RedisOutOfMemory | RedisForbidsPushes => {
                stack.nats.is_none()
            }
            ServerKilled | ServerTerminated => true,
        }
    }

    fn begin(self, stack: &mut Stack) {
        match self {
            ServerKilled => stack.kill_server(),
            ServerTerminated => stack.terminate_server(),
            RedisKilled => stack.redis.kill(),
            RedisFrozen => stack.redis.freeze(),
            RedisConnectionsCut => redis_command(stack, &["CLIENT", "KILL", "TYPE", "normal"]),
            RedisOutOfMemory => redis_command(stack, &["CONFIG", "SET", "maxmemory", "1"]),
            RedisForbidsPushes => redis_command(stack, &["ACL", "SETUSER", "default", "-rpush"]),
            NatsKilled => nats(stack).kill(),
            NatsFrozen => nats(stack).freeze(),
            DatabaseStopped => database(stack).stop(),
            DatabaseFrozen => database(stack).freeze(),
            DiskFull => stack.disk.as_ref().expect("DiskFull is possible").fill(),
        }
    }

    /// Ends the fault. The caller restarts the service.
    fn end(self, stack: &mut Stack) {
        match self {
            ServerKilled | ServerTerminated | RedisConnectionsCut => {}
            RedisKilled => stack.redis.restart(),
            RedisFrozen => stack.redis.thaw(),
            RedisOutOfMemory => redis_command(stack, &["CONFIG", "SET", "maxmemory", "0"]),
            RedisForbidsPushes => redis_command(stack, &["ACL", "SETUSER", "default", "+rpush"]),
            NatsKilled => nats(stack).restart(),
            NatsFrozen => nats(stack).thaw(),
            DatabaseStopped => database(stack).start(),
            DatabaseFrozen => database(stack).thaw(),
            DiskFull => stack.disk.as_ref().expect("DiskFull is possible").free(),
        }
    }
}

fn redis_command(stack: &Stack, command: &[&str]) {
    stack.redis.command(command);
}

fn nats(stack: &mut Stack) -> &mut test_servers::Nats {
    stack.nats.as_mut().expect("faults of NATS are possible")
}

fn database(stack: &mut Stack) -> &mut dyn test_servers::Database {
    stack.database.as_deref_mut().expect("faults of the database server are possible")
}
