//! Scenario runner, naive oracle and virtual time for PacketMutex.
