//! Transactional ids: who may use them, what is open, how it ends.

mod state;

pub(crate) use state::{Outcome, Phase, TransactionState};

/// All transactional ids of the broker.
#[derive(Debug)]
pub(crate) struct Transactions;
