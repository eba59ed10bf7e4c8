//! Which system calls are left, as seccomp filters.
//!
//! The process that decodes has a list of calls that it may not make: what a library makes use of tomorrow is not
//! known, and what would be of use to an intruder is. The opener makes a dozen calls, and has a list of those.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// What starts programs, reaches into other processes, makes or enters namespaces, mounts, opens by handle, attaches
/// to the kernel, changes it, or makes calls that a filter does not see (io_uring).
const FORBIDDEN: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_open_by_handle_at,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Flags of clone(2) that make namespaces. In a user namespace of its own a process has all capabilities.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// bpf(2) commands that read what is open already; whatever makes or attaches something is none of them.
const READS: &[u64] = &[
    1,  /* MAP_LOOKUP_ELEM */
    4,  /* MAP_GET_NEXT_KEY */
    15, /* OBJ_GET_INFO_BY_FD */
];

/// Those that attach programs which are loaded, too, and tell them so: two that write to maps, and two that attach.
const ATTACHES: &[u64] = &[
    2,  /* MAP_UPDATE_ELEM */
    3,  /* MAP_DELETE_ELEM */
    17, /* RAW_TRACEPOINT_OPEN */
    28, /* LINK_CREATE */
];

/// What the opener does: wait for a question, open, look at four bytes or list descriptors, hand out; and what memory takes.
const OPENERS: &[i64] = &[
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_pread64,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_memfd_create,
    libc::SYS_pwrite64,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Forbids the calling thread, and those that it starts, what [`FORBIDDEN`] has; and to attach, if that is over.
pub fn forbid(attaches: bool) -> io::Result<()> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    if !attaches {
        rules.insert(libc::SYS_perf_event_open, Vec::new());
    }
    let commands = READS.iter().chain(if attaches { ATTACHES } else { &[] });
    let others = commands.map(|command| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *command)
    });
    let others = others.collect::<Result<_, _>>().map_err(io::Error::other)?;
    rules.insert(libc::SYS_bpf, vec![SeccompRule::new(others).map_err(io::Error::other)?]);
    let makes = NAMESPACES.map(|flag| {
        let flag = u64::from(flag.cast_unsigned());
        let has = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, has, flag)?])
    });
    let makes = makes.into_iter().collect::<Result<_, _>>().map_err(io::Error::other)?;
    rules.insert(libc::SYS_clone, makes);
    // Its flags are in memory, where a filter sees none. Without it threads are made by clone(2).
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(clone3, SeccompAction::Allow, absent)?;
    apply(rules, SeccompAction::Allow, refuse())
}

/// Leaves the calling thread only what [`OPENERS`] has.
pub fn allow_opening() -> io::Result<()> {
    let rules = OPENERS.iter().map(|call| (*call, Vec::new())).collect();
    apply(rules, refuse(), SeccompAction::Allow)
}

/// An answer that a library can live with, where a signal would end the run.
fn refuse() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM.cast_unsigned())
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> io::Result<()> {
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, others, these, machine).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}
