//! What a metrics exporter learns of each exchange.
use lanyard_domain::quota::Bucket;
use std::time::Duration;

/// One request and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// `GET` or `PATCH`.
    pub method: &'static str,
    /// The narrowest bucket that it drew on.
    pub bucket: Bucket,
    /// None when no answer came.
    pub status: Option<u16>,
    pub duration: Duration,
}

/// Is told of every exchange that left this process.
pub trait Observer: Send + Sync + 'static {
    fn exchanged(&self, exchange: &Exchange);

    /// ARM answered 429, which closed this bucket.
    fn throttled(&self, bucket: Bucket);
}

/// Nobody listens.
impl Observer for () {
    fn exchanged(&self, _: &Exchange) {}
    fn throttled(&self, _: Bucket) {}
}
