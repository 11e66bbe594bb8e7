//! The pure decision core of PacketMutex: who goes next, when, and why.
