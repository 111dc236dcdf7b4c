//! The stock interface that has to be allowed by name: it says where in the host's own address
//! space the guest's memory lies.

crate::hypercalls! {
    /// Addresses of the host's.
    pub trait HostAddress {
        /// Where a guest-virtual address is seen in the host's process. `None` where nothing is
        /// mapped, or what is mapped is no RAM.
        fn host_address(&mut self, gva: u64) -> Option<u64>;
    }
}
