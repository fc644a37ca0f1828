//! The columns that name a partition or a record, as parameters of a statement.

use crate::record::RecordId;
use crate::store::PartitionKey;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::{Query, QueryScalar};

/// The number of the partition that the first four parameters name; records are found by it.
macro_rules! stream {
    () => {
        "(SELECT stream FROM millrace.stream_partition WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4)"
    };
}
pub(super) use stream;

/// Binds pipeline, run, topic and partition, which come first in every statement about one partition.
pub trait BindKey<'q> {
    fn bind_key(self, key: &'q PartitionKey) -> Self;
}

impl<'q> BindKey<'q> for Query<'q, Postgres, PgArguments> {
    fn bind_key(self, key: &'q PartitionKey) -> Self {
        self.bind(&*key.pipeline).bind(key.run).bind(&*key.partition.topic).bind(key.partition.partition)
    }
}

impl<'q, O> BindKey<'q> for QueryScalar<'q, Postgres, O, PgArguments> {
    fn bind_key(self, key: &'q PartitionKey) -> Self {
        self.bind(&*key.pipeline).bind(key.run).bind(&*key.partition.topic).bind(key.partition.partition)
    }
}

/// Ids as the parameters of an `unnest`.
pub type IdColumns<'a> = (Vec<i32>, Vec<&'a str>, Vec<i32>, Vec<i64>, Vec<i16>);

pub fn id_columns<'a>(ids: impl IntoIterator<Item = &'a RecordId>) -> IdColumns<'a> {
    let mut columns = IdColumns::default();
    for id in ids {
        columns.0.push(id.run);
        columns.1.push(&id.topic);
        columns.2.push(id.partition);
        columns.3.push(id.offset);
        columns.4.push(id.n);
    }
    columns
}
