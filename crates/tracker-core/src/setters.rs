//! Setters of settings.

/// Implements a chainable setter for each public field of a struct of settings. Names every field, so that the compiler
/// finds a new one that has no setter. `=> value` converts the argument.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($settings:ident { $($(#[$condition:meta])? $field:ident: $argument:ty $(=> $value:expr)?,)* }) => {
        impl $settings {
            $(
                $(#[$condition])?
                #[doc = concat!("Sets [`Self::", stringify!($field), "`].")]
                #[must_use]
                pub fn $field(self, $field: $argument) -> Self {
                    Self { $field: $crate::setters!(@ $field $($value)?), ..self }
                }
            )*
        }

        const _: fn($settings) = |$settings { $($(#[$condition])? $field: _,)* }| {};
    };
    (@ $field:ident) => { $field };
    (@ $field:ident $value:expr) => { $value };
}
