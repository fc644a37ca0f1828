//! The files: transactions, the book's columns, the golden predictions.

use crate::{Anyhow, Options};
use anyhow::Context;
use flate2::read::MultiGzDecoder;
use std::collections::{HashMap, HashSet};
use std::path::Path;

const DAY_S: i64 = 86_400;
/// 2018-04-01T00:00:00Z, where the file's seconds begin.
pub const BEGIN_S: i64 = 1_522_540_800;
/// The days of which the book's columns are here.
pub const BOOK_DAYS: std::ops::Range<i64> = 115..157;
/// Two transactions of one customer in the same second, which the book's unstable sort has swapped.
pub const TIES: [u64; 6] = [1_240_489, 1_240_490, 1_350_833, 1_350_834, 1_472_490, 1_472_491];

#[derive(Debug, Clone)]
pub struct Transaction {
    pub id: u64,
    pub seconds: i64,
    pub customer: u64,
    pub terminal: u64,
    pub amount: String,
    pub fraud: bool,
}

impl Transaction {
    pub fn day(&self) -> i64 {
        self.seconds / DAY_S
    }
}

/// A row of the test set.
pub struct Row {
    pub fraud: bool,
    /// By model.
    pub golden: HashMap<String, f64>,
}

pub struct Golden {
    pub rows: HashMap<u64, Row>,
    /// The book's columns, by transaction, in the order of `columns`.
    pub features: HashMap<u64, Vec<f64>>,
    pub columns: Vec<String>,
    first_day: i64,
}

fn rows(path: &Path) -> Anyhow<csv::Reader<MultiGzDecoder<std::fs::File>>> {
    let file = std::fs::File::open(path).with_context(|| format!("{}: see --data", path.display()))?;
    Ok(csv::Reader::from_reader(MultiGzDecoder::new(file)))
}

impl Golden {
    pub fn read(options: &Options) -> Anyhow<Self> {
        let folder = options.data.join("handbook");
        let start: jiff::civil::Date = options.fold.parse().context("--fold takes a date")?;
        let begin: jiff::civil::Date = "2018-04-01".parse()?;
        // Seven days of training, seven of delay, then the test week.
        let first_day = i64::from((start - begin).get_days()) + 14;
        let mut test = rows(&folder.join(format!("golden/test_{}.csv.gz", options.fold)))?;
        let models: Vec<String> = test.headers()?.iter().skip(2).map(|name| name.trim_start_matches("p_").to_owned()).collect();
        let mut found = HashMap::new();
        for record in test.records() {
            let record = record?;
            let golden = models.iter().cloned().zip(record.iter().skip(2).map(|text| text.parse().unwrap_or(f64::NAN)));
            found.insert(record[0].parse()?, Row { fraud: &record[1] == "1", golden: golden.collect() });
        }
        let mut book = rows(&folder.join("expected_features_0725_0904.csv.gz"))?;
        let columns: Vec<String> = book.headers()?.iter().skip(1).map(str::to_owned).collect();
        let mut features = HashMap::new();
        for record in book.records() {
            let record = record?;
            features.insert(record[0].parse()?, record.iter().skip(1).map(|text| text.parse().unwrap_or(f64::NAN)).collect());
        }
        Ok(Self { rows: found, features, columns, first_day })
    }

    /// First day of the test week, counted from the file's first.
    pub fn first_day(&self) -> i64 {
        self.first_day
    }
}

/// The transactions of [from, to), days counted from the file's first, in their order.
pub fn transactions(options: &Options, from: i64, to: i64) -> Anyhow<Vec<Transaction>> {
    let mut file = rows(&options.data.join("handbook/transactions.csv.gz"))?;
    let mut found = Vec::new();
    for record in file.records() {
        let record = record?;
        let seconds: i64 = record[1].parse()?;
        if (from..to).contains(&(seconds / DAY_S)) {
            found.push(Transaction {
                id: record[0].parse()?,
                seconds,
                customer: record[2].parse()?,
                terminal: record[3].parse()?,
                amount: record[4].to_owned(),
                fraud: &record[5] == "1",
            });
        }
    }
    let ids: HashSet<u64> = found.iter().map(|transaction| transaction.id).collect();
    anyhow::ensure!(ids.len() == found.len(), "ids are not unique");
    Ok(found)
}
