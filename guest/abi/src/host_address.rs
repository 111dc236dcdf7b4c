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

#[cfg(test)]
mod tests {
    extern crate std;

    use crate::calls::Interface;
    use std::format;

    /// Numbers and definitions as the contract has them.
    fn is_in_the_contract(interface: &Interface) {
        let contract = include_str!("../README.md");
        let heading = format!("### {}: {:#010X}\n", interface.name, interface.number(0));
        let heading = heading.replace("0X", "0x");
        let (_, section) = contract.split_once(&heading).expect(&heading);
        let section = section.split("\n## ").next().expect("some text");
        let section = section.split("\n### ").next().expect("some text");
        let calls = section.lines().filter_map(|line| line.strip_prefix("#### "));
        let there: std::vec::Vec<_> = calls.collect();
        let here: std::vec::Vec<_> = interface.methods.iter().enumerate().collect();
        let here: std::vec::Vec<_> =
            here.iter().map(|(i, call)| format!("{i}: `{call}`")).collect();
        assert_eq!(there, here);
    }

    #[test]
    fn the_contract_has_every_stock_call_with_its_number() {
        is_in_the_contract(&crate::host::INTERFACE);
        is_in_the_contract(&super::INTERFACE);
        is_in_the_contract(&crate::span::INTERFACE);
    }
}
