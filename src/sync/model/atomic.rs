//! The names of `std::sync::atomic` that the library uses, for the models.
//!
//! What must hold: each has the size, the place and the first value of the
//! real one, and its operations are single steps of loom's atomic for the same
//! word, with the order the library gave.

pub use loom::sync::atomic::{Ordering, fence};
use std::sync::atomic as plain;

use super::{Kind, WORLD, modelled};

macro_rules! words {
    ($($name:ident $(<$param:ident>)?: $value:ty = $kind:ident $stock:ident $modelled:ident $carrier:ty,
       $into:expr, $from:expr;)*) => {$(
        #[repr(transparent)]
        pub struct $name $(<$param>)? (plain::$name $(<$param>)?);

        impl $(<$param>)? $name $(<$param>)? {
            pub const fn new(value: $value) -> Self {
                $name(plain::$name::new(value))
            }

            fn address(&self) -> usize {
                std::ptr::from_ref(self).addr()
            }

            fn explored(&self) -> Option<(&'static modelled::$modelled, $carrier)> {
                self.find().map(|(index, base)| (&WORLD.$stock[index], base))
            }

            /// Its place in the stock, and what it held.
            fn find(&self) -> Option<(usize, $carrier)> {
                if !WORLD.meet(self.address()) {
                    return None;
                }
                let held = || $into(self.0.load(Ordering::Relaxed)) as u64;
                let (index, base) = WORLD.find(Kind::$kind, self.address(), held);
                Some((index, base as $carrier))
            }

            pub fn load(&self, order: Ordering) -> $value {
                match self.find() {
                    Some((index, base)) => {
                        WORLD.before_load(Kind::$kind, index);
                        $from(WORLD.$stock[index].load(order).wrapping_add(base))
                    }
                    None => self.0.load(order),
                }
            }

            pub fn store(&self, value: $value, order: Ordering) {
                match self.explored() {
                    Some((word, base)) => word.store($into(value).wrapping_sub(base), order),
                    None => self.0.store(value, order),
                }
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                match self.explored() {
                    Some((word, base)) => {
                        let old = word.swap($into(value).wrapping_sub(base), order);
                        $from(old.wrapping_add(base))
                    }
                    None => self.0.swap(value, order),
                }
            }

            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match self.explored() {
                    Some((word, base)) => word
                        .compare_exchange(
                            $into(current).wrapping_sub(base),
                            $into(new).wrapping_sub(base),
                            success,
                            failure,
                        )
                        .map(|old| $from(old.wrapping_add(base)))
                        .map_err(|old| $from(old.wrapping_add(base))),
                    None => self.0.compare_exchange(current, new, success, failure),
                }
            }

            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut value = self.load(fetch);
                while let Some(next) = update(value) {
                    match self.compare_exchange(value, next, set, fetch) {
                        Ok(old) => return Ok(old),
                        Err(now) => value = now,
                    }
                }
                Err(value)
            }

            pub fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }
        }

        impl $(<$param>)? Drop for $name $(<$param>)? {
            fn drop(&mut self) {
                super::forget(self.address());
            }
        }
    )*};
}

macro_rules! numbers {
    ($($name:ident: $value:ty = $stock:ident $carrier:ty;)*) => {$(
        impl $name {
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                match self.explored() {
                    Some((word, base)) => {
                        word.fetch_add(value as $carrier, order).wrapping_add(base) as $value
                    }
                    None => self.0.fetch_add(value, order),
                }
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                match self.explored() {
                    Some((word, base)) => {
                        word.fetch_sub(value as $carrier, order).wrapping_add(base) as $value
                    }
                    None => self.0.fetch_sub(value, order),
                }
            }

            /// One step only of a word that began at zero.
            fn fetch(&self, order: Ordering, update: impl Fn($value) -> $value) -> $value {
                let mut value = self.load(Ordering::Relaxed);
                loop {
                    match self.compare_exchange(value, update(value), order, Ordering::Relaxed)
                    {
                        Ok(old) => return old,
                        Err(now) => value = now,
                    }
                }
            }

            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                match self.explored() {
                    Some((word, 0)) => word.fetch_or(value as $carrier, order) as $value,
                    _ => self.fetch(order, |old| old | value),
                }
            }

            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                match self.explored() {
                    Some((word, 0)) => word.fetch_and(value as $carrier, order) as $value,
                    _ => self.fetch(order, |old| old & value),
                }
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                self.fetch(order, |old| old.max(value))
            }
        }
    )*};
}

words! {
    AtomicBool: bool = Narrow narrow AtomicU32 u32, |value: bool| u32::from(value), |raw: u32| raw != 0;
    AtomicU32: u32 = Narrow narrow AtomicU32 u32, |value: u32| value, |raw: u32| raw;
    AtomicI32: i32 = Narrow narrow AtomicU32 u32, |value: i32| value as u32, |raw: u32| raw as i32;
    AtomicU64: u64 = Wide wide AtomicU64 u64, |value: u64| value, |raw: u64| raw;
    AtomicI64: i64 = Wide wide AtomicU64 u64, |value: i64| value as u64, |raw: u64| raw as i64;
    AtomicUsize: usize = Wide wide AtomicU64 u64, |value: usize| value as u64, |raw: u64| raw as usize;
    AtomicPtr<T>: *mut T = Wide wide AtomicU64 u64,
        |value: *mut T| value.expose_provenance() as u64,
        |raw: u64| std::ptr::with_exposed_provenance_mut::<T>(raw as usize);
}

numbers! {
    AtomicU32: u32 = narrow u32;
    AtomicI32: i32 = narrow u32;
    AtomicU64: u64 = wide u64;
    AtomicI64: i64 = wide u64;
    AtomicUsize: usize = wide u64;
}

/// For the ring's counter of calls, which no model explores.
impl std::ops::Deref for AtomicU64 {
    type Target = plain::AtomicU64;
    fn deref(&self) -> &plain::AtomicU64 {
        &self.0
    }
}

impl AtomicU32 {
    /// What the kernel sees in the word.
    pub(super) fn newest(&self) -> u32 {
        match self.explored() {
            Some((word, base)) => super::newest(word).wrapping_add(base),
            None => self.0.load(Ordering::SeqCst),
        }
    }
}
