//! Memory of the models that are loaded, held to a budget. Who wants a model takes a lease on it; while there are leases it stays. When
//! another needs the room, the model that has not been used for the longest time goes, and is read again at its next lease. What is
//! pinned never goes, and neither does what is in use.
//!
//! A thread that holds a lease asks for no second one: two that wait for each other's models would wait for ever.

mod book;
#[cfg(test)]
mod tests;

use super::InferenceError;
use book::{Book, Room};
use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The budget, and what is loaded under it. Clones share both. The default has no limit, and nothing goes.
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<Shared>,
    /// What is opened here must fit beside all others.
    beside: bool,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    /// A lease has ended.
    ended: Condvar,
    /// Held by the one who makes room and loads.
    turn: Mutex<()>,
}

/// A model under a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub name: String,
    /// Its memory when it is loaded.
    pub bytes: usize,
    pub loaded: bool,
    pub pinned: bool,
    /// How often it had to go.
    pub unloads: u64,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({:?} bytes)", self.book().limit)
    }
}

impl Memory {
    /// At most so many bytes of models at the same time.
    pub fn limited(bytes: usize) -> Self {
        let memory = Self::default();
        memory.book().limit = Some(bytes);
        memory
    }

    /// Bytes of models at the same time at most; `None` without a limit.
    pub fn limit(&self) -> Option<usize> {
        self.book().limit
    }

    /// The models under this budget, in the order in which they were opened.
    pub fn held(&self) -> Vec<Held> {
        self.book().held()
    }

    /// The same budget, for models that no other may go for: one that is opened here must fit beside all others, loaded or not.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { beside: true, ..self.clone() }
    }

    /// While it is set, a model that is opened must fit beside all others: none goes for it.
    pub fn keep_all(&self, keep: bool) {
        self.book().keeps_all = keep;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a model that was loaded just now. When it takes more than was said before, others go for that too.
    fn settle(&self, number: u64, value: Arc<dyn Any + Send + Sync>, bytes: usize) -> Result<(), InferenceError> {
        self.book().weigh(number, bytes);
        self.make_room(number)?;
        self.book().put(number, value);
        Ok(())
    }

    /// Waits until a model fits, and puts others out for that.
    fn make_room(&self, number: u64) -> Result<(), InferenceError> {
        loop {
            let mut book = self.book();
            let room = book.room(number);
            let out = match room {
                Err(error) => {
                    book.stay();
                    return Err(error);
                }
                Ok(Room::Enough) => {
                    book.stay();
                    return Ok(());
                }
                Ok(Room::After(out)) => out,
                Ok(Room::Wait) => {
                    drop(self.shared.ended.wait(book).unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
            };
            // The memory is given back before the next is loaded, and with nobody waiting for the lock.
            drop(book);
            drop(out);
        }
    }
}

/// A model that may be loaded or not.
pub struct Resident<T> {
    memory: Memory,
    number: u64,
    load: Box<dyn Fn() -> Result<(T, usize), InferenceError> + Send + Sync>,
}

impl<T: Send + Sync + 'static> Resident<T> {
    /// Loads a model, which will take about `bytes`. `first` loads it now, and `again` whenever it had to go; with the model they say how
    /// many bytes it takes in truth.
    pub fn open(
        memory: &Memory,
        name: &str,
        bytes: usize,
        first: impl FnOnce() -> Result<(T, usize), InferenceError>,
        again: impl Fn() -> Result<(T, usize), InferenceError> + Send + Sync + 'static,
    ) -> Result<Self, InferenceError> {
        let number = memory.book().enter(name, bytes);
        // From here on its end takes it out of the book again.
        let resident = Self { memory: memory.clone(), number, load: Box::new(again) };
        memory.book().admit(number, memory.beside)?;
        let turn = memory.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        memory.make_room(number)?;
        let (value, bytes) = first()?;
        if memory.beside {
            // It may take more than was said before.
            memory.book().weigh(number, bytes);
            memory.book().admit(number, true)?;
        }
        memory.settle(number, Arc::new(value), bytes)?;
        drop(turn);
        Ok(resident)
    }

    /// What cannot be loaded again stays.
    pub fn fixed(value: T, bytes: usize) -> Self {
        let memory = Memory::default();
        let number = memory.book().enter("", bytes);
        memory.book().weigh(number, bytes);
        memory.book().put(number, Arc::new(value));
        let load = || Err(InferenceError::Closed("a model that was given cannot be loaded again".to_owned()));
        Self { memory, number, load: Box::new(load) }
    }

    /// The model, loaded when it is not; blocks meanwhile, and while others that are in use leave no room for it.
    pub fn lease(&self) -> Result<Lease<T>, InferenceError> {
        if let Some(lease) = self.at_hand() {
            return Ok(lease);
        }
        let _turn = self.memory.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have loaded it meanwhile.
        if let Some(lease) = self.at_hand() {
            return Ok(lease);
        }
        self.memory.make_room(self.number)?;
        let (value, bytes) = (self.load)()?;
        self.memory.settle(self.number, Arc::new(value), bytes)?;
        self.at_hand().ok_or_else(|| InferenceError::Closed("a model went while it was loaded".to_owned()))
    }

    /// Keeps it loaded from now on, whatever others need. An error when it does not fit beside what is pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.memory.book().pin(self.number, true);
        self.lease().map(|_| ()).inspect_err(|_| self.memory.book().pin(self.number, false))
    }

    fn at_hand(&self) -> Option<Lease<T>> {
        let value: Arc<dyn Any + Send + Sync> = self.memory.book().take(self.number)?;
        let value = value.downcast::<T>().ok()?;
        Some(Lease { value, end: End { memory: self.memory.clone(), number: self.number } })
    }
}

impl<T> Drop for Resident<T> {
    fn drop(&mut self) {
        let gone = self.memory.book().leave(self.number);
        drop(gone);
        self.memory.shared.ended.notify_all();
    }
}

/// A model in use; it stays while this is there.
pub struct Lease<T> {
    // Dropped first: the model is let go before the book says that nobody has it.
    value: Arc<T>,
    end: End,
}

struct End {
    memory: Memory,
    number: u64,
}

impl<T> Lease<T> {
    /// Whether others wait for its room: who could go on for long should come to an end, and lease it again.
    pub fn is_wanted(&self) -> bool {
        self.end.memory.book().is_wanted(self.end.number)
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.memory.book().end(self.number);
        self.memory.shared.ended.notify_all();
    }
}
