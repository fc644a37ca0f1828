//! Templates come from elsewhere: how deep one may go, before it is compiled and while it runs.
//!
//! What a template keeps in variables is not bounded: one that is made to take all memory does, as the rest of a model's folder could. So a
//! template is to be trusted like the model that it came with.
//!
//! The compiler goes down once for each operator of a tag and for each `elif`, and values that hold each other are given back one inside
//! the other; nothing there counts the depth. So both are bounded by what is in the text and by the steps of a run, and have a stack that
//! holds as much.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Longest template, bytes. The longest of those that are in use have some 30,000.
const BYTES: usize = 1 << 20;
/// Words and signs of one tag, without what stands in quotes.
const WORDS: usize = 10_000;
/// Branches of conditions in all.
const BRANCHES: usize = 1_000;
/// What the deepest takes that these limits, and those of a run, leave; only what is used of it takes memory.
const STACK: usize = 512 << 20;

/// Why a template is not compiled.
pub fn check(source: &str) -> Result<(), String> {
    if source.len() > BYTES {
        return Err(format!("it has {} bytes; {BYTES} is the limit", source.len()));
    }
    let branches = source.matches("elif").count();
    if branches > BRANCHES {
        return Err(format!("it has {branches} branches (`elif`); {BRANCHES} is the limit"));
    }
    match tags(source).map(words).find(|words| *words > WORDS) {
        Some(words) => Err(format!("one of its tags has {words} words and signs; {WORDS} is the limit")),
        None => Ok(()),
    }
}

/// What stands in braces, each from its opening to its end or to the end of the text.
fn tags(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = source;
    std::iter::from_fn(move || {
        let at = rest.find("{{").into_iter().chain(rest.find("{%")).min()?;
        let tag = &rest[at + 2..];
        let end = end(tag);
        rest = &tag[end..];
        Some(&tag[..end])
    })
}

/// Where a tag ends: at its closing braces outside of quotes.
fn end(tag: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, sign) in tag.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if sign == '\\' => escaped = true,
            Some(open) if sign == open => quote = None,
            Some(_) => {}
            None if sign == '\'' || sign == '"' => quote = Some(sign),
            None if tag[at..].starts_with("}}") || tag[at..].starts_with("%}") => return at,
            None => {}
        }
    }
    tag.len()
}

/// Words, and signs that are none, outside of quotes.
fn words(tag: &str) -> usize {
    let (mut count, mut quote, mut escaped, mut in_word) = (0, None, false, false);
    for sign in tag.chars() {
        if let Some(open) = quote {
            match (escaped, sign) {
                (true, _) => escaped = false,
                (false, '\\') => escaped = true,
                (false, sign) if sign == open => quote = None,
                _ => {}
            }
            continue;
        }
        if sign == '\'' || sign == '"' {
            quote = Some(sign);
        }
        let of_word = sign.is_alphanumeric() || sign == '_';
        count += usize::from(!(sign.is_whitespace() || of_word && in_word));
        in_word = of_word;
    }
    count
}

/// A thread whose stack is deep enough, and what lives on it until this is dropped. It is started once, so that a machine without a thread
/// to spare refuses a model when it is opened, and no conversation later.
pub struct Deep<T> {
    work: Option<Sender<Job<T>>>,
    thread: Option<JoinHandle<()>>,
}

type Job<T> = Box<dyn FnOnce(&T) + Send>;

impl<T: 'static> Deep<T> {
    /// What `made` makes, on its thread; `Ok(Err)` is its own error.
    pub fn new<E: Send + 'static>(made: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<Result<Self, E>, String> {
        let (work, jobs) = channel::<Job<T>>();
        let (told, made_at) = channel();
        let run = move || {
            let made = match made() {
                Ok(made) => made,
                Err(error) => return drop(told.send(Err(error))),
            };
            if told.send(Ok(())).is_err() {
                return;
            }
            drop(told);
            for job in jobs {
                // Whoever waits for it sees that nothing comes.
                let _panicked = catch_unwind(AssertUnwindSafe(|| job(&made)));
            }
        };
        let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK).spawn(run);
        let thread = thread.map_err(|error| format!("no thread for it could be started: {error}"))?;
        let made = made_at.recv().map_err(|_| PANICKED.to_owned())?;
        Ok(made.map(|()| Self { work: Some(work), thread: Some(thread) }))
    }

    /// Some work with it, one after the other.
    pub fn with<R: Send + 'static>(&self, job: impl FnOnce(&T) -> R + Send + 'static) -> Result<R, String> {
        let (told, done) = channel();
        let job: Job<T> = Box::new(move |made| drop(told.send(job(made))));
        let sent = self.work.as_ref().and_then(|work| work.send(job).ok());
        sent.and_then(|()| done.recv().ok()).ok_or_else(|| PANICKED.to_owned())
    }
}

impl<T> Drop for Deep<T> {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

const PANICKED: &str = "the template engine panicked";

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a thread for each piece of work, one that a panic ends, a panic that passes for an answer.
    #[test]
    fn work_is_done_on_one_deep_thread() {
        let deep = Deep::new(|| Ok::<_, String>(7)).unwrap().unwrap();
        let on = || deep.with(|seven| (std::thread::current().id(), *seven)).unwrap();
        let first = on();
        assert!(first.1 == 7 && first.0 != std::thread::current().id());
        assert_eq!(deep.with(|_| panic!("it fails")), Err::<(), _>(PANICKED.to_owned()));
        assert_eq!(on(), first);
        assert_eq!(Deep::<()>::new(|| Err("no")).unwrap().err(), Some("no"));
        assert!(Deep::<()>::new(|| -> Result<(), String> { panic!("it fails") }).is_err());
    }

    #[test]
    fn tags_are_counted_without_what_is_in_quotes() {
        let found = |source: &str| tags(source).map(words).collect::<Vec<_>>();
        assert_eq!(found("a b {{ x + 'y }} - - \\' -' }} c {% if not -1 %}{{ \"%}"), [3, 4, 1]);
        assert_eq!(found("{% set a_b = c.d %}"), [6]);
        assert_eq!(found("no tag } at all {"), [0; 0]);
    }
}
