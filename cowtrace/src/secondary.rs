//! Secondary MMUs by the names that their users have for them.
//!
//! The kernel knows an MMU notifier by its operations, and kallsyms has a name for these. What is
//! told here of each was read in its source; one that is not here keeps the kernel's name.
//!
//! Not every notifier hears of changes: some want to know of the end of the address space only.

/// Who is told of changes in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coherence {
    /// Operations of the secondary MMUs that are: coherent by notifier.
    pub mmus: Vec<u64>,
    /// There are no others.
    pub complete: bool,
}

/// A secondary MMU.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// What users call it.
    name: &'static str,
    /// It hears of changes in page tables, and follows them.
    follows: bool,
    /// Symbols of its operations.
    symbols: &'static [&'static str],
    /// Modules that these are in, for kernels without names of data (`CONFIG_KALLSYMS_ALL`).
    modules: &'static [&'static str],
}

const fn follows(
    name: &'static str,
    symbols: &'static [&'static str],
    modules: &'static [&'static str],
) -> Kind {
    Kind { name, follows: true, symbols, modules }
}

/// Those that are told of the end alone. Their modules have others, too.
const fn waits(name: &'static str, symbols: &'static [&'static str]) -> Kind {
    Kind { name, follows: false, symbols, modules: &[] }
}

const KINDS: [Kind; 20] = [
    follows("KVM", &["kvm_mmu_notifier_ops"], &["kvm"]),
    follows("RDMA on-demand paging (mlx5)", &["mlx5_mn_ops"], &["mlx5_ib"]),
    // From 6.15.
    follows("RDMA on-demand paging (rxe)", &["rxe_mn_ops"], &["rdma_rxe"]),
    follows("hfi1", &["mn_opts", "tid_mn_ops", "tid_cover_ops"], &["hfi1"]),
    follows("SVA (Intel IOMMU)", &["intel_mmuops"], &[]),
    // amd_iommu_v2 up to 6.6; amd/pasid.c from 6.13.
    follows("SVA (AMD IOMMU)", &["iommu_mn", "sva_mn"], &["amd_iommu_v2"]),
    follows("SVA (Arm SMMU)", &["arm_smmu_mmu_notifier_ops"], &["arm_smmu_v3"]),
    follows(
        "amdgpu",
        &[
            "amdgpu_mn_gfx_ops",
            "amdgpu_mn_hsa_ops",
            "amdgpu_hmm_gfx_ops",
            "amdgpu_hmm_hsa_ops",
            "svm_range_mn_ops",
        ],
        &["amdgpu"],
    ),
    follows("radeon", &["radeon_mn_ops"], &["radeon"]),
    follows("nouveau", &["nouveau_mn_ops", "nouveau_svm_mni_ops"], &["nouveau"]),
    follows(
        "i915 userptr",
        &["i915_gem_userptr_notifier", "i915_gem_userptr_notifier_ops"],
        &["i915"],
    ),
    follows("xe userptr", &["vma_userptr_notifier_ops", "xe_madvise_notifier_ops"], &["xe"]),
    follows("GPU shared virtual memory", &["drm_gpusvm_notifier_ops"], &["drm_gpusvm"]),
    follows("NVIDIA UVM", &["uvm_mmu_notifier_ops", "uvm_mmu_notifier_ops_ats"], &["nvidia_uvm"]),
    follows("Xen gntdev", &["gntdev_mmu_ops"], &["xen_gntdev"]),
    follows("Hyper-V root (mshv)", &["mshv_region_mni_ops"], &["mshv_root"]),
    follows("SGI GRU", &["gru_mmuops"], &["gru"]),
    waits("SGX", &["sgx_mmu_notifier_ops"]),
    waits("amdgpu compute process", &["kfd_process_mmu_notifier_ops"]),
    waits("NVIDIA UVM process", &["uvm_mmu_notifier_ops_release"]),
];

/// What users call the one with these operations; else the kernel's name for them, else their address.
pub fn name(symbol: Option<&str>, ops: u64) -> String {
    let Some(symbol) = symbol else {
        return format!("MMU notifier {ops:#x}");
    };
    if let Some(kind) = kind(symbol) {
        return kind.name.to_owned();
    }
    match (exact(symbol), module(symbol)) {
        (Some(name), Some(module)) => format!("{name} [{module}]"),
        (Some(name), None) => name.to_owned(),
        (None, Some(module)) => format!("an MMU notifier of {module}"),
        (None, None) => format!("MMU notifier {ops:#x}"),
    }
}

/// Whether it hears of changes; one that is not known here is taken to.
pub fn follows_changes(symbol: Option<&str>) -> bool {
    symbol.and_then(kind).is_none_or(|kind| kind.follows)
}

fn kind(symbol: &str) -> Option<&'static Kind> {
    let (exact, module) = (exact(symbol), module(symbol));
    let is_it = |kind: &&Kind| match exact {
        Some(name) => kind.symbols.contains(&name),
        None => module.is_some_and(|module| kind.modules.contains(&module)),
    };
    KINDS.iter().find(is_it)
}

/// The name of what stands at the address itself: behind a symbol it is something else without a name. A compiler
/// may have put something behind a dot.
fn exact(symbol: &str) -> Option<&str> {
    let (name, offset) = symbol.split_once('+').unwrap_or((symbol, "0x0"));
    let is_start = offset.split(' ').next() == Some("0x0");
    is_start.then(|| name.split('.').next()).flatten()
}

fn module(symbol: &str) -> Option<&str> {
    symbol.split_once('[').map(|(_, module)| module.trim_end_matches(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_users_name_them() {
        let named = |symbol| name(Some(symbol), 1);
        assert_eq!(named("kvm_mmu_notifier_ops+0x0 [kvm]"), "KVM");
        assert_eq!(named("mlx5_mn_ops+0x0 [mlx5_ib]"), "RDMA on-demand paging (mlx5)");
        assert_eq!(named("sva_mn.llvm.123+0x0"), "SVA (AMD IOMMU)");
    }

    #[test]
    fn unknown_ones_keep_what_the_kernel_calls_them() {
        assert_eq!(name(Some("my_ops+0x0 [my_driver]"), 1), "my_ops [my_driver]");
        assert_eq!(name(Some("my_ops+0x0"), 1), "my_ops");
        assert_eq!(name(None, 0xff), "MMU notifier 0xff");
    }

    #[test]
    fn a_symbol_in_front_of_the_operations_tells_the_module_only() {
        assert_eq!(name(Some("kvm_vcpu_run+0x208 [kvm]"), 1), "KVM");
        assert_eq!(name(Some("my_probe+0x208 [my_driver]"), 1), "an MMU notifier of my_driver");
        assert_eq!(name(Some("do_exit+0x208"), 0xff), "MMU notifier 0xff");
    }

    #[test]
    fn some_are_told_of_the_end_alone() {
        assert!(follows_changes(Some("kvm_mmu_notifier_ops+0x0 [kvm]")));
        assert!(!follows_changes(Some("sgx_mmu_notifier_ops+0x0")));
        assert!(follows_changes(None));
    }

    #[test]
    fn no_symbol_stands_for_two() {
        let mut all: Vec<_> = KINDS.iter().flat_map(|kind| kind.symbols).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
