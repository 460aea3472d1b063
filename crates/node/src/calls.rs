//! The raw calls on an open log, made per record or per turn: see `raw`. `src/native/calls.ts` declares them for TypeScript. A log is given
//! by the number that opening returned.

use crate::error::invalid;
use crate::raw::{define, enter, ArgumentKind, Call, RawResult, Utf8Scratch};
use crate::state::EnvironmentState;
use crate::wire;
use forelog::{AppendTerms, Error, RecordRef, Settled};
use napi::bindgen_prelude::Object;
use napi::{sys, Env};
use std::rc::Rc;

fn kind(flags: u32, string: u32, bytes: u32) -> ArgumentKind {
    match (flags & string != 0, flags & bytes != 0) {
        (true, _) => ArgumentKind::String,
        (_, true) => ArgumentKind::Bytes,
        _ => ArgumentKind::Nothing,
    }
}

/// Reads `key, value, flags, expiresAt?, term?, index?`, from the second argument on, and passes the record to `take`.
fn with_record<const N: usize, T>(call: &Call<'_, N>, take: impl FnOnce(RecordRef<'_>, u32) -> Result<T, Error>) -> Result<T, Error> {
    let flags = call.unsigned(3, "flags")?;
    let (mut key, mut value) = (Utf8Scratch::new(), Utf8Scratch::new());
    let expires_at = if flags & wire::FLAG_EXPIRES != 0 { Some(call.whole(4, "expiresAt")?) } else { None };
    let version =
        if flags & wire::FLAG_VERSION != 0 { Some((call.whole(5, "version.term")?, call.whole(6, "version.index")?)) } else { None };
    let record = RecordRef {
        key: call.bytes(1, kind(flags, wire::FLAG_KEY_STRING, wire::FLAG_KEY_BYTES), &mut key, "key")?,
        value: call.bytes(2, kind(flags, wire::FLAG_VALUE_STRING, wire::FLAG_VALUE_BYTES), &mut value, "value")?,
        tombstone: flags & wire::FLAG_TOMBSTONE != 0,
        expires_at,
        version,
    };
    take(record, flags)
}

fn log<const N: usize>(call: &Call<'_, N>) -> Result<u32, Error> {
    call.unsigned(0, "log")
}

fn terms<const N: usize>(call: &Call<'_, N>, flags: u32, expect: usize) -> Result<AppendTerms, Error> {
    let expect = if flags & wire::FLAG_EXPECT != 0 { Some(call.integer(expect, "expect")?) } else { None };
    Ok(AppendTerms { durable: flags & wire::FLAG_DURABLE != 0, expect })
}

/// `append(log, key, value, flags, expiresAt?, term?, index?, expect?)`: appends a record and returns its position.
fn append(call: &Call<'_, 8>) -> RawResult {
    with_record(call, |record, flags| {
        let terms = terms(call, flags, 7)?;
        let position = call.state.logs.with(log(call)?, |wal| wal.append(record, terms))?;
        Ok(position as f64)
    })
}

/// `appendBuffered()`: appends the records of the record buffer to its log and clears it, or refuses all of them. Returns the position
/// of the first.
fn append_buffered(call: &Call<'_, 0>) -> RawResult {
    Ok(call.state.append_buffered(|_| ())? as f64)
}

/// `appendFromBuffer(log)`: appends the only record of the record buffer, which is no log's yet, to this one. Returns its position.
fn append_from_buffer(call: &Call<'_, 1>) -> RawResult {
    let buffer = &call.state.record_buffer;
    let position = call.state.logs.with(log(call)?, |wal| buffer.pass_one(|record| wal.append(record, buffer.durable())))?;
    Ok(position as f64)
}

/// `appendBufferedAndKick()`: appends like `appendBuffered`, and has what the log has accepted committed. A refusal commits nothing.
fn append_buffered_and_kick(call: &Call<'_, 0>) -> RawResult {
    Ok(call.state.append_buffered(|wal| call.state.kick(wal))? as f64)
}

/// `pushBuffered(log)`: adds the records of the record buffer to the batch being built.
fn push_buffered(call: &Call<'_, 1>) -> RawResult {
    let mut batch = call.state.batch.borrow_mut();
    call.state.logs.with(log(call)?, |wal| {
        // More will follow, for which the memory of the buffer is too short.
        call.state.record_buffer.pass(false, wal.options().max_record_bytes, |records| batch.push_encoded(records))
    })?;
    Ok(f64::from(batch.len()))
}

/// `push(log, key, value, flags, expiresAt?, term?, index?)`: adds a record to the batch being built.
fn push(call: &Call<'_, 7>) -> RawResult {
    with_record(call, |record, _| {
        let mut batch = call.state.batch.borrow_mut();
        call.state.logs.with(log(call)?, |wal| batch.push(record, wal.options().max_record_bytes))?;
        Ok(f64::from(batch.len()))
    })
}

/// `commit(log, flags, expect?)`: adds the records of the record buffer to the batch, appends it, and returns the position of its first record.
fn commit(call: &Call<'_, 3>) -> RawResult {
    let terms = terms(call, call.unsigned(1, "flags")?, 2)?;
    let mut batch = call.state.batch.borrow_mut();
    let (first, _) = call.state.logs.with(log(call)?, |wal| {
        let buffer = &call.state.record_buffer;
        if !buffer.is_empty() {
            buffer.pass(true, wal.options().max_record_bytes, |records| batch.push_encoded(records))?;
        }
        wal.append_batch(&mut batch, terms)
    })?;
    Ok(first as f64)
}

/// `abort()`: discards the batch being built.
fn abort(call: &Call<'_, 0>) -> RawResult {
    call.state.batch.borrow_mut().clear();
    Ok(0.0)
}

/// `sync(log)`: submits a sync.
fn sync(call: &Call<'_, 1>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| wal.sync())?;
    Ok(0.0)
}

/// `truncateBefore(log, position)`: submits the truncation.
fn truncate_before(call: &Call<'_, 2>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| wal.truncate_before(call.integer(1, "position")?))?;
    Ok(0.0)
}

/// `truncateAfter(log, position)`: submits the truncation.
fn truncate_after(call: &Call<'_, 2>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| wal.truncate_after(call.integer(1, "position")?))?;
    Ok(0.0)
}

/// `reset(log, position)`: submits the reset.
fn reset(call: &Call<'_, 2>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| wal.reset(call.integer(1, "position")?))?;
    Ok(0.0)
}

/// `kick(log)`: has what was accepted committed: on this thread as far as that does not block it, and otherwise on a commit thread.
fn kick(call: &Call<'_, 1>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| {
        call.state.kick(wal);
        Ok(0.0)
    })
}

/// `settled(log)`: returns how many operations have succeeded, or a negative number if a failure comes next: see `Environment.failure()`.
fn settled(call: &Call<'_, 1>) -> RawResult {
    call.state.logs.with(log(call)?, |wal| {
        Ok(match wal.settled() {
            Settled::Done(count) => count as f64,
            Settled::Failed(up_to, error) => {
                call.state.fail(up_to, error);
                -1.0
            }
        })
    })
}

/// `positions(log, Float64Array)`: fills in the numbers that `wire` lists.
fn positions(call: &Call<'_, 2>) -> RawResult {
    let numbers = call.state.logs.with(log(call)?, |wal| {
        // Before the positions: what a cut accepted before this call has changed, they show.
        let has_cut = wal.has_cut();
        let (at, options) = (wal.positions(), wal.options());
        let mut numbers = [0; wire::POSITIONS_LENGTH];
        numbers[wire::POSITIONS_FIRST] = at.first;
        numbers[wire::POSITIONS_NEXT] = at.next;
        numbers[wire::POSITIONS_WRITTEN] = at.written;
        numbers[wire::POSITIONS_ACKNOWLEDGED] = at.acknowledged;
        numbers[wire::POSITIONS_DURABLE] = at.durable;
        numbers[wire::POSITIONS_PENDING_BYTES] = wal.pending_bytes();
        numbers[wire::POSITIONS_MAX_PENDING_BYTES] = options.max_pending_bytes;
        numbers[wire::POSITIONS_TRUNCATIONS] = wal.truncation_count();
        numbers[wire::POSITIONS_MAX_RECORD_BYTES] = options.max_record_bytes;
        numbers[wire::POSITIONS_LAST_FAILING] = wal.failing();
        numbers[wire::POSITIONS_HAS_CUT] = u64::from(has_cut);
        Ok(numbers.map(|n| n as f64))
    })?;
    call.write_float64s(1, &numbers)?;
    Ok(0.0)
}

/// `rearm()`: enables the next wake and returns the number of completions.
fn rearm(call: &Call<'_, 0>) -> RawResult {
    Ok(call.state.shared.rearm() as f64)
}

/// `nextReadyLog()`: returns a log that has something to settle, or a negative number if there is none.
fn next_ready_log(call: &Call<'_, 0>) -> RawResult {
    Ok(call.state.logs.next_ready(&call.state.shared).map_or(-1.0, f64::from))
}

/// `ref()`: keeps the event loop alive.
fn keep_alive(call: &Call<'_, 0>) -> RawResult {
    set_alive(call, true)
}

/// `unref()`: lets the event loop end.
fn let_end(call: &Call<'_, 0>) -> RawResult {
    set_alive(call, false)
}

fn set_alive(call: &Call<'_, 0>, alive: bool) -> RawResult {
    if call.state.keep_alive(alive) {
        Ok(0.0)
    } else {
        Err(invalid("the environment has ended"))
    }
}

macro_rules! functions {
    ($env:expr, $object:expr, $state:expr, $($name:ident $js:literal)*) => {$(
        {
            // SAFETY: only Node-API calls it, with the arguments of the call under way, because `define` alone gets it.
            unsafe extern "C" fn callback(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
                enter(env, info, $name)
            }
            let name = concat!($js, "\0");
            let name = std::ffi::CStr::from_bytes_with_nul(name.as_bytes()).map_err(|e| napi::Error::from_reason(e.to_string()))?;
            define($env, $object, name, callback, $state)?;
        }
    )*};
}

/// Returns an object with all functions above.
pub fn calls<'env>(env: &'env Env, state: &Rc<EnvironmentState>) -> napi::Result<Object<'env>> {
    let object = Object::new(env)?;
    functions!(env, &object, state,
        append "append"
        append_buffered "appendBuffered"
        append_from_buffer "appendFromBuffer"
        append_buffered_and_kick "appendBufferedAndKick"
        push "push"
        push_buffered "pushBuffered"
        commit "commit"
        abort "abort"
        sync "sync"
        truncate_before "truncateBefore"
        truncate_after "truncateAfter"
        reset "reset"
        kick "kick"
        settled "settled"
        positions "positions"
        rearm "rearm"
        next_ready_log "nextReadyLog"
        keep_alive "ref"
        let_end "unref"
    );
    Ok(object)
}
