//! Requests that their waiters take back from the intake: the protocol with
//! the engine alone, on small objects, then the library as it is.

mod protocol;
mod whole;
