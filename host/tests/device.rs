//! What is said where /dev/kvm is not as it should be. No KVM is needed here.

#[test]
fn a_device_that_is_not_there_or_not_kvm_is_named_with_a_remedy() {
    let says = |path: &str, words: &[&str]| {
        let error = portcall::Kvm::open_path(path.as_ref()).expect_err("no KVM");
        let text = error.to_string();
        assert!(text.contains(path), "{text}");
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    };
    says("/nonexistent/kvm", &["does not exist", "modprobe", "nested", "WSL", "container"]);
    says("/dev/null", &["is not KVM", "10:232"]);
    says("/proc", &["cannot be opened"]);
    let denied = portcall::error::KvmError::Denied { path: "/dev/kvm".into() };
    assert!(denied.to_string().contains("usermod -aG kvm"));
}
