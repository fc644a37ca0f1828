//! An answer that goes out while it is written: in a task of its own and within the function's time, so that a client that stops
//! reading keeps nobody waiting. It is given up when the client is gone.

use crate::admin::ApiError;
use crate::function::offline;
use crate::function::requests::Written;
use crate::function::{Function, Input};
use futures_util::stream::{BoxStream, StreamExt, once, unfold};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

/// What comes, in this order: texts, then the end.
pub enum Piece {
    Text(Written),
    /// The output as a request without pieces gets it.
    End(Result<Value, ApiError>),
}

enum State {
    Writing(Writing, UnboundedReceiver<Written>),
    Last(Piece),
    Over,
}

/// The task that writes; ends when it is dropped.
struct Writing(JoinHandle<Result<Value, ApiError>>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The pieces of the answer to one input. Bounded by the tokens that an answer may have, so a slow reader holds up nobody.
pub fn pieces(function: Arc<dyn Function>, input: Input, place: OwnedSemaphorePermit) -> BoxStream<'static, Piece> {
    let (to, from) = unbounded_channel();
    let most = function.spec().limits.timeout;
    let writing = async move {
        let _place = place;
        let Some(pieces) = function.requests().and_then(|requests| requests.pieces()) else {
            let message = format!("{} does not answer in pieces; leave `stream` out", function.spec().name);
            return Err(ApiError { status: 400, kind: "invalid_request", message, param: Some("stream".into()) });
        };
        let outcome = pieces.answer_in_pieces(&input, Box::new(move |piece| to.send(piece).is_ok())).await;
        outcome.map(offline::output).map_err(super::call::failed)
    };
    let timed = async move {
        let late = |_| ApiError { status: 504, kind: "timeout", message: format!("no answer within {most:?}"), param: None };
        tokio::time::timeout(most, writing).await.map_err(late)?
    };
    unfold(State::Writing(Writing(tokio::spawn(timed)), from), next).boxed()
}

/// The same pieces once the first is there. What ends before it is an error with a status of its own; `answered` makes of an output what is
/// answered, or the refusal that it is.
pub async fn begun(
    mut pieces: BoxStream<'static, Piece>,
    answered: impl Fn(Value) -> Result<Value, ApiError> + Send + 'static,
) -> Result<BoxStream<'static, Piece>, ApiError> {
    let first = match pieces.next().await {
        Some(Piece::End(output)) => Piece::End(Ok(answered(output?)?)),
        Some(text) => text,
        None => return Err(ApiError { status: 500, kind: "internal", message: "there is no answer".into(), param: None }),
    };
    let rest = pieces.map(move |piece| match piece {
        // A refusal is no answer that ends well.
        Piece::End(output) => Piece::End(output.and_then(&answered)),
        text => text,
    });
    Ok(once(async { first }).chain(rest).boxed())
}

async fn next(state: State) -> Option<(Piece, State)> {
    let (mut writing, mut from) = match state {
        State::Writing(writing, from) => (writing, from),
        State::Last(end) => return Some((end, State::Over)),
        State::Over => return None,
    };
    tokio::select! {
        biased;
        Some(written) = from.recv() => Some((Piece::Text(written), State::Writing(writing, from))),
        output = &mut writing.0 => {
            let broken = |_| ApiError { status: 500, kind: "internal", message: "the function failed".into(), param: None };
            let mut rest = Written::default();
            while let Ok(written) = from.try_recv() {
                rest.text += &written.text;
                rest.tokens.extend(written.tokens);
            }
            let end = Piece::End(output.map_err(broken).flatten());
            Some(if rest.text.is_empty() { (end, State::Over) } else { (Piece::Text(rest), State::Last(end)) })
        }
    }
}
