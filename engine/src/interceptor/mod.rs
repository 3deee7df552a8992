//! An application's own code on the way of its records, for tracing: who is called, and what a failure means.
//!
//! Invariants:
//! - Without interceptors a call costs a look at an empty list.
//! - They are called in the order in which they were registered, on the thread that the trait names, with no lock held.
//! - One that fails, or panics, before something is done keeps it from being done, and the call says so; one that is
//!   registered as best effort, or that is only told of what is done already, is counted and passed over.

mod consumer;
mod producer;

pub use consumer::{ConsumerInterceptor, DeliveryEnd, EndedDeliveries};
pub(crate) use producer::Added;
pub use producer::{ProducerInterceptor, Sending};

use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an interceptor says: go on, or why not.
pub type InterceptorResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Failures that failed no call, counted by the engine.
pub(crate) type Failures = Arc<AtomicU64>;

struct Entry<T: ?Sized> {
    name: Arc<str>,
    interceptor: Arc<T>,
    is_best_effort: bool,
}

impl<T: ?Sized> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Entry { name: self.name.clone(), interceptor: self.interceptor.clone(), is_best_effort: self.is_best_effort }
    }
}

/// Interceptors in the order of their registration. Two lists are equal if they hold the same ones.
pub(crate) struct Interceptors<T: ?Sized> {
    entries: Arc<[Entry<T>]>,
}

impl<T: ?Sized> Default for Interceptors<T> {
    fn default() -> Self {
        Interceptors { entries: Arc::new([]) }
    }
}

impl<T: ?Sized> Clone for Interceptors<T> {
    fn clone(&self) -> Self {
        Interceptors { entries: self.entries.clone() }
    }
}

impl<T: ?Sized> PartialEq for Interceptors<T> {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |one: &Entry<T>, other: &Entry<T>| {
            one.is_best_effort == other.is_best_effort
                && std::ptr::addr_eq(Arc::as_ptr(&one.interceptor), Arc::as_ptr(&other.interceptor))
        };
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&*other.entries).all(|(one, other)| is_same(one, other))
    }
}

impl<T: ?Sized> Eq for Interceptors<T> {}

impl<T: ?Sized> std::fmt::Debug for Interceptors<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.name)).finish()
    }
}

impl<T: ?Sized> Interceptors<T> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one behind those that are there.
    pub(crate) fn add(&mut self, name: Arc<str>, interceptor: Arc<T>, is_best_effort: bool) {
        let entry = Entry { name, interceptor, is_best_effort };
        self.entries = self.entries.iter().cloned().chain([entry]).collect();
    }

    /// Asks all of them in their order, up to the first whose failure counts: its place, and the error of the call.
    fn ask(
        &self,
        call: &'static str,
        failures: &Failures,
        mut ask: impl FnMut(&T) -> InterceptorResult,
    ) -> Result<(), (usize, Error)> {
        for (at, entry) in self.entries.iter().enumerate() {
            let asked = catch_unwind(AssertUnwindSafe(|| ask(&entry.interceptor)));
            let reason = match asked {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", words_of(&*panic)),
            };
            if !entry.is_best_effort {
                return Err((at, Error::Interceptor { name: entry.name.to_string(), call, reason }));
            }
            failures.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells the first `count` of them of something that cannot be changed any more.
    fn tell(&self, count: usize, failures: &Failures, tell: impl Fn(&T)) {
        for entry in self.entries.iter().take(count) {
            if catch_unwind(AssertUnwindSafe(|| tell(&entry.interceptor))).is_err() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it is made of.
    trait Word: Send + Sync {
        fn say(&self) -> InterceptorResult;
    }

    struct Says(&'static str);

    impl Word for Says {
        fn say(&self) -> InterceptorResult {
            match self.0 {
                "fails" => Err("it fails".into()),
                "panics" => panic!("it {}", self.0),
                _ => Ok(()),
            }
        }
    }

    fn list(words: &[(&'static str, bool)]) -> Interceptors<dyn Word> {
        let mut list: Interceptors<dyn Word> = Interceptors::default();
        words.iter().for_each(|(word, is_best_effort)| list.add((*word).into(), Arc::new(Says(word)), *is_best_effort));
        list
    }

    #[test]
    fn the_first_failure_that_counts_ends_it_and_the_others_are_counted() {
        let failures = Failures::default();
        let ask = |words: &[(&'static str, bool)]| {
            let mut asked = 0;
            let result = list(words).ask("on_send", &failures, |word| {
                asked += 1;
                word.say()
            });
            (asked, result.map_err(|(at, error)| (at, error.to_string())))
        };
        assert_eq!(ask(&[("good", false), ("fails", true), ("panics", true), ("good", false)]), (4, Ok(())));
        assert_eq!(failures.load(Ordering::Relaxed), 2);
        let (asked, failed) = ask(&[("good", false), ("fails", false), ("good", false)]);
        let (at, text) = failed.unwrap_err();
        assert_eq!((asked, at), (2, 1), "nobody behind it is asked");
        assert!(text.contains("`fails`") && text.contains("it fails") && text.contains("nothing was sent"), "{text}");
        let (_, text) = ask(&[("panics", false)]).1.unwrap_err();
        assert!(text.contains("it panicked: it panics"), "{text}");
        assert_eq!(failures.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn lists_are_equal_if_they_hold_the_same_ones_in_the_same_way() {
        let says: Arc<dyn Word> = Arc::new(Says("good"));
        let with = |interceptor: &Arc<dyn Word>, is_best_effort| {
            let mut list = Interceptors::default();
            list.add("n".into(), interceptor.clone(), is_best_effort);
            list
        };
        assert_eq!(with(&says, true), with(&says, true));
        assert_ne!(with(&says, true), with(&says, false));
        assert_ne!(with(&says, true), list(&[("good", true)]));
        assert_eq!(list(&[]), Interceptors::default());
        assert_eq!(format!("{:?}", with(&says, true)), r#"["n"]"#);
    }
}
