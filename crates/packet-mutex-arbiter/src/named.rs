//! Enums whose values have a name that is the same everywhere: in JSON, rosters, commands and logs.

/// Defines a plain enum with a name for each value, and both directions between them.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        pub enum $type:ident {
            $( $(#[$of_value:meta])* $value:ident = $name:literal, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $( $(#[$of_value])* $value, )+
        }

        impl $type {
            /// All values, in the order of their definition.
            pub const ALL: &'static [$type] = &[$( $type::$value ),+];

            /// Returns the value's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( $type::$value => $name, )+
                }
            }

            /// Returns the value with this name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<$type> {
                $type::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

pub(crate) use named;
