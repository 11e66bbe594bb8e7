//! Modules by name or by handle.

use packet_mutex_arbiter::ModuleId;
use std::fmt;
use std::sync::Arc;

/// A module of one mutex. It is looked up once with [`PacketMutex::module`](crate::PacketMutex::module), for hot loops.
///
/// With another mutex it stands for the module of the same name there.
///
/// ```
/// let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
/// let fisher = mutex.module("fisher")?;
/// for _cast in 0..3 {
///     let _turn = mutex.acquire(&fisher)?;
/// }
/// # Ok::<(), packet_mutex::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Module {
    pub(crate) mutex: u64,
    pub(crate) id: ModuleId,
    pub(crate) name: Arc<str>,
}

impl Module {
    /// Returns the module's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Module").field(&self.name).finish()
    }
}

/// A module as a caller names it: a `&str` or a [`Module`].
#[derive(Clone, Copy, Debug)]
pub enum ModuleRef<'a> {
    /// By name. Upper case is folded.
    Name(&'a str),
    /// By handle.
    Handle(&'a Module),
}

impl ModuleRef<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            ModuleRef::Name(name) => name,
            ModuleRef::Handle(module) => &module.name,
        }
    }
}

impl<'a> From<&'a str> for ModuleRef<'a> {
    fn from(name: &'a str) -> Self {
        ModuleRef::Name(name)
    }
}

impl<'a> From<&'a String> for ModuleRef<'a> {
    fn from(name: &'a String) -> Self {
        ModuleRef::Name(name)
    }
}

impl<'a> From<&'a Module> for ModuleRef<'a> {
    fn from(module: &'a Module) -> Self {
        ModuleRef::Handle(module)
    }
}
