//! The entries of one key, in the order of their time; equal times in the order of the log.

/// Rows of words, each `time, id, columns…`, one after the other in one allocation.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    words: Vec<u64>,
    /// Words a row; 0 until the first row.
    width: usize,
    /// Words before this belong to rows that were forgotten.
    start: usize,
    /// Time of the newest row that was cut for want of room.
    cut_ms: Option<i64>,
}

const TIME: usize = 0;
const ID: usize = 1;

impl Rows {
    pub(super) fn from_parts(words: Vec<u64>, width: usize, cut_ms: Option<i64>) -> Self {
        Self { words, width, start: 0, cut_ms }
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words[self.start..]
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn cut_ms(&self) -> Option<i64> {
        self.cut_ms
    }

    pub(super) fn capacity(&self) -> usize {
        self.words.capacity()
    }

    pub fn len(&self) -> usize {
        self.words().len().checked_div(self.width).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.words().is_empty()
    }

    pub(super) fn rows(&self, from: usize, to: usize) -> std::slice::ChunksExact<'_, u64> {
        self.words()[from * self.width..to * self.width].chunks_exact(self.width.max(1))
    }

    pub(super) fn time_ms(&self, row: usize) -> i64 {
        self.words()[row * self.width + TIME] as i64
    }

    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|last| self.time_ms(last))
    }

    /// The first row whose time is after that.
    pub(super) fn after(&self, time_ms: i64) -> usize {
        let (words, width) = (self.words(), self.width);
        let is_after = |row: usize| words[row * width + TIME] as i64 > time_ms;
        let mut rows = self.len();
        // Most windows end at the newest row, and what is forgotten stands at the front.
        if rows == 0 || is_after(0) {
            return 0;
        }
        if !is_after(rows - 1) {
            return rows;
        }
        // Halves without a branch: which one it is cannot be predicted.
        let mut first = 0;
        while rows > 1 {
            let half = rows / 2;
            first = if is_after(first + half) { first } else { first + half };
            rows -= half;
        }
        first + 1
    }

    /// The row of an event; looked for from the newest on.
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        self.words().get(ID..)?.iter().step_by(self.width.max(1)).rposition(|word| *word == id)
    }

    /// Puts a row, of so many words, to its place by time.
    pub(super) fn insert(&mut self, time_ms: i64, width: usize, row: impl Iterator<Item = u64>) {
        self.width = width;
        self.make_room();
        let place = self.start + self.after(time_ms) * width;
        if place == self.words.len() {
            self.words.extend(row);
        } else {
            self.words.splice(place..place, row);
        }
    }

    pub(super) fn mark(&mut self, id: u64, column: usize, word: u64) {
        if let Some(row) = self.find(id) {
            self.words[self.start + row * self.width + column] = word;
        }
    }

    /// Drops what is at or before that time.
    pub(super) fn forget_until(&mut self, time_ms: i64) {
        self.start += self.after(time_ms) * self.width;
        self.cut_ms = self.cut_ms.filter(|cut| *cut > time_ms);
        self.close_up();
    }

    /// Drops the oldest rows beyond so many.
    pub(super) fn cut_to(&mut self, entries: usize) {
        let Some(over) = self.len().checked_sub(entries).filter(|over| *over > 0) else { return };
        let newest_cut = self.time_ms(over - 1);
        self.cut_ms = Some(self.cut_ms.map_or(newest_cut, |cut| cut.max(newest_cut)));
        self.start += over * self.width;
        self.close_up();
    }

    /// Room for one more row. When none is left it is made anew for the rows that are there and a quarter more, whether that is more than before or
    /// less: so it follows what a key has now, and not the most that it ever had. A row is moved fewer than eight times, and where there are many some four times.
    fn make_room(&mut self) {
        if self.words.len() + self.width <= self.words.capacity() {
            return;
        }
        self.move_to_front();
        let rows = self.len();
        let wanted = (rows + (rows / 4).max(1)) * self.width;
        match wanted.checked_sub(self.words.capacity()) {
            Some(_) => self.words.reserve_exact(wanted - self.words.len()),
            None => self.words.shrink_to(wanted),
        }
    }

    /// Moves the rows to the front once half of the room is lost, and gives back what a busier time has left.
    fn close_up(&mut self) {
        if self.start * 2 > self.words.len() {
            self.move_to_front();
        }
        let needed = self.words.len() + self.width;
        if self.words.capacity() > 2 * needed {
            self.words.shrink_to(needed + needed / 4);
        }
    }

    fn move_to_front(&mut self) {
        self.words.drain(..self.start);
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    const WIDTH: usize = 5;

    fn insert(rows: &mut Rows, n: i64) {
        rows.insert(n, WIDTH, [n as u64, n as u64, 1, 2, 3].into_iter());
    }

    /// Would catch: room that is asked for again though what was forgotten would give it, so that a state grows for as long as its key is used; a key
    /// that keeps the room of its busiest day for ever.
    #[test]
    fn a_key_has_no_more_room_than_its_rows_need() {
        let (mut rows, mut most) = (Rows::default(), 0);
        for n in 0..100_000 {
            insert(&mut rows, n);
            // As an account in a window of 30 days: about as many rows, sometimes some more.
            rows.forget_until(n - 29 - (n / 97) % 7);
            most = most.max(rows.len() + 1);
            let room = rows.capacity() / WIDTH;
            assert!(room <= most + most / 4 + 1, "room for {room} rows after {n}, {most} at most were there");
        }
        for n in 100_000..110_000 {
            insert(&mut rows, n);
        }
        rows.forget_until(109_970);
        assert_eq!((rows.len(), rows.time_ms(0)), (29, 109_971));
        assert!(rows.capacity() <= 2 * 30 * WIDTH, "room for {} rows, of which 29 are there", rows.capacity() / WIDTH);
        rows.forget_until(110_000);
        assert!(rows.is_empty() && rows.capacity() <= 2 * WIDTH, "{}", rows.capacity());
    }
}
