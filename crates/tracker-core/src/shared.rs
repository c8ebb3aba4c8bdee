//! Values that a tracker shares with its tasks.

use std::sync::Arc;

use crate::output::Output;
use crate::store::Store;

/// A [`Store`] or an [`Output`], or an [`Arc`] of one: the arguments of [`Tracker::builder`](crate::Tracker::builder)
/// and [`TrackerBuilder::output`](crate::TrackerBuilder::output). Pass an `Arc` to keep using the value, or to choose
/// its type at run time.
#[diagnostic::on_unimplemented(message = "`{Self}` implements neither `Store` nor `Output`, nor is it an `Arc` of one")]
pub trait IntoShared<T: ?Sized> {
    /// The shared value.
    fn into_shared(self) -> Arc<T>;
}

/// An `Arc` of a trait object stays as it is, so that a call of the trait costs the same however the value was passed.
macro_rules! into_shared {
    ($trait:ident) => {
        impl<T: $trait> IntoShared<dyn $trait> for T {
            fn into_shared(self) -> Arc<dyn $trait> {
                Arc::new(self)
            }
        }

        impl<T: $trait> IntoShared<dyn $trait> for Arc<T> {
            fn into_shared(self) -> Arc<dyn $trait> {
                self
            }
        }

        impl IntoShared<dyn $trait> for Arc<dyn $trait> {
            fn into_shared(self) -> Self {
                self
            }
        }
    };
}

into_shared!(Store);
into_shared!(Output);
