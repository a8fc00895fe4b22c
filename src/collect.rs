//! Completions kept for `aio_waitcomplete`.

use crate::abi::Aiocb;

/// The collector. All zero: nobody collects.
pub struct Collector {
    _reserved: u64,
}

impl Collector {
    pub fn prepare(&self) {}
    pub fn complete(&self, _cb: Aiocb) {}
    pub fn returned(&self, _cb: Aiocb) {}
    pub fn flush(&self) {}
}
