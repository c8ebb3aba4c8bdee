//! Pushes as optimistic transactions (WATCH, MULTI and EXEC), which send only the batches that Redis does not have.
//!
//! WATCH precedes reading the markers. A transaction that hangs in an abandoned connection therefore fails if it
//! reaches Redis after its retry. Redis answers each piece of a large push, so that each has a deadline of its own.

use fred::clients::{Client, Pipeline};
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::Value;

use crate::mode::Mode;
use crate::push::{EncodedPush, MARKER_SECONDS, Target, command, congested, count};

/// The script that sets the markers of a transaction.
const MARK: &str = include_str!("mark.lua");
/// The number of attempts. An attempt fails when another connection pushes one of the batches meanwhile.
const ATTEMPTS: usize = 3;

/// Pushes the batches that Redis does not have yet, and deletes the forgotten markers.
pub(crate) async fn transact(mut push: EncodedPush, target: &Target<'_>) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        if attempt(&mut push, target).await? {
            return Ok(());
        }
    }
    Err(Error::new(ErrorKind::Unknown, "other connections push the same batches"))
}

/// Returns false if another connection wrote a marker meanwhile.
async fn attempt(push: &mut EncodedPush, target: &Target<'_>) -> Result<bool, Error> {
    if push.batches.is_empty() {
        let forgotten = push.forgotten.clone();
        let () = target.pace.within(push.size(), target.client.custom(command("DEL"), forgotten)).await?;
        return Ok(true);
    }
    let (list, markers) = (|| Value::from(target.keys.list().clone()), push.markers());
    let query = target.client.pipeline();
    add(&query, "WATCH", markers.clone()).await?;
    add(&query, "MGET", markers).await?;
    add(&query, "LLEN", vec![list()]).await?;
    // Redis confirms MULTI before this sends RPUSH, because RPUSH must not run outside the transaction.
    add(&query, "MULTI", Vec::new()).await?;
    let (_, found, mut length, _): (Value, Vec<Value>, u64, Value) =
        target.pace.within(2 * push.markers_size(), query.all()).await?;
    push.remove_delivered(&found, target).await?;
    let new = push.batches.len();
    let fitting = push.batches.iter().take_while(|batch| {
        let fits = target.max_list_length.is_none_or(|max| length < max);
        length += batch.elements.len() as u64;
        fits
    });
    let fitting = fitting.count();
    push.batches.truncate(fitting);

    let transaction = target.client.pipeline();
    let mut bytes = push.markers_size();
    let mut pieces = push.pieces(target.pace.rate());
    if let Some(last) = pieces.pop() {
        for piece in pieces {
            let bytes = piece.bytes;
            let queued = target.client.custom(command("RPUSH"), piece.arguments(list()));
            let _: Value = target.pace.within(bytes, queued).await?;
        }
        bytes += last.bytes;
        add(&transaction, "RPUSH", last.arguments(list())).await?;
    }
    mark(&transaction, push, target).await?;
    if !push.forgotten.is_empty() {
        add(&transaction, "DEL", push.forgotten.clone()).await?;
    }
    add(&transaction, "EXEC", Vec::new()).await?;
    let answers = target.pace.within(bytes, async { Ok(transaction.try_all::<Value>().await) });
    let is_executed = executed(answers.await?, push, target).await?;
    // The batches that do not fit are no longer part of `push`, so another attempt would not deliver them.
    if fitting < new { Err(congested()) } else { Ok(is_executed) }
}

/// Adds the commands that set the markers.
async fn mark(transaction: &Pipeline<Client>, push: &EncodedPush, target: &Target<'_>) -> Result<(), Error> {
    let (Some(last), markers) = (push.last_element(), push.markers()) else { return Ok(()) };
    let list = || Value::from(target.keys.list().clone());
    if target.mode < Mode::Scripts {
        for marker in markers {
            add(transaction, "SET", vec![marker, "".into(), "EX".into(), MARKER_SECONDS.into()]).await?;
        }
        return Ok(());
    }
    // These two commands change nothing. If the user lacks permission for one of them, Redis rejects the whole
    // transaction, instead of executing RPUSH and then failing in MARK, which calls both.
    add(transaction, "SET", vec![markers[0].clone(), "".into(), "XX".into()]).await?;
    add(transaction, "LINDEX", vec![list(), i64::MAX.to_string().into()]).await?;
    let mut arguments = vec![MARK.into(), count(1 + markers.len()), list()];
    arguments.extend(markers);
    arguments.extend([last, MARKER_SECONDS.into()]);
    add(transaction, "EVAL", arguments).await
}

/// Whether Redis executed the transaction with these answers. A command that fails in a transaction does not end it:
/// if RPUSH failed, the markers that SET wrote must go.
async fn executed(
    mut answers: Vec<Result<Value, Error>>,
    push: &EncodedPush,
    target: &Target<'_>,
) -> Result<bool, Error> {
    let executed = answers.pop();
    let is_answered = !answers.is_empty();
    if let Some(error) = answers.into_iter().find_map(Result::err) {
        return Err(error);
    }
    match executed {
        // EXEC returns null if another connection wrote a marker after WATCH.
        Some(Ok(answer)) => Ok(!answer.is_null()),
        Some(Err(error)) => {
            if is_answered && target.mode < Mode::Scripts {
                let deleted = target.client.custom(command("DEL"), push.markers());
                let () = target.pace.within(push.markers_size(), deleted).await?;
            }
            Err(error)
        }
        None => Err(Error::new(ErrorKind::Protocol, "EXEC has no answer")),
    }
}

async fn add(pipeline: &Pipeline<Client>, name: &'static str, arguments: Vec<Value>) -> Result<(), Error> {
    pipeline.custom(command(name), arguments).await
}
