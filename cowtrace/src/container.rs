//! From the path of a cgroup to the container and the pod that it is of.
//!
//! Container runtimes name cgroups after what runs in them. What is read here is only the name: no runtime and no
//! Kubernetes is asked, so that a recording tells the same anywhere.

use std::fmt;

/// What a cgroup is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The container's id, 64 hexadecimal digits; none where the path ends at the pod.
    pub id: Option<String>,
    /// The pod's UID, with dashes; none outside Kubernetes.
    pub pod_uid: Option<String>,
    /// The pod's class of service.
    pub qos: Option<Qos>,
}

/// A pod's class of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Requests equal limits. Its cgroup names no class.
    Guaranteed,
    /// Some are given.
    Burstable,
    /// None are.
    BestEffort,
}

impl Qos {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

impl Container {
    /// What a path below the root of the hierarchy is of; `None` where it is of no container.
    pub fn of(path: &str) -> Option<Self> {
        let parts = || path.split('/').filter(|part| !part.is_empty());
        let id = parts().find_map(id);
        let pod_uid = parts().find_map(pod_uid);
        let qos = pod_uid.as_ref().map(|_| qos(path));
        (id.is_some() || pod_uid.is_some()).then_some(Self { id, pod_uid, qos })
    }
}

/// `container 3f4e5d6c7b8a of pod 0a1b2c3d-… (Burstable)`, the id as runtimes print it.
impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.as_deref().map(|id| id.get(..12).unwrap_or(id));
        match (id, &self.pod_uid) {
            (Some(id), Some(uid)) => write!(f, "container {id} of pod {uid}")?,
            (Some(id), None) => write!(f, "container {id}")?,
            (None, uid) => write!(f, "pod {}", uid.as_deref().unwrap_or_default())?,
        }
        self.qos.map_or(Ok(()), |qos| write!(f, " ({})", qos.name()))
    }
}

/// The id in a part of a path: `cri-containerd-ID.scope` where systemd makes the cgroups, else `ID`.
fn id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    // cri-containerd:ID is runc's own name for it where the kubelet's driver and the runtime's differ.
    let id = name.rsplit(['-', ':']).next()?;
    // conmon and its like are what watches a container, not the container.
    let watches = name.contains("conmon");
    let is_id = id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_id && !watches).then(|| id.to_ascii_lowercase())
}

/// The UID in `kubepods-burstable-podUID.slice`, with underscores in place of dashes, or `podUID`.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = name.rsplit_once("pod")?;
    if !(before.is_empty() || before.starts_with("kubepods") && before.ends_with('-')) {
        return None;
    }
    let uid = uid.replace('_', "-");
    // Static pods have a hash in place of a UID.
    let digits = uid.bytes().filter(|byte| *byte != b'-');
    let is_uid = digits.clone().count() == 32 && digits.clone().all(|b| b.is_ascii_hexdigit());
    is_uid.then_some(uid)
}

fn qos(path: &str) -> Qos {
    if path.contains("burstable") {
        Qos::Burstable
    } else if path.contains("besteffort") {
        Qos::BestEffort
    } else {
        Qos::Guaranteed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a9012";
    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    const HASH: &str = "8d7f6e5d4c3b2a190817263544536271";

    /// Paths as the runtimes make them, `ID`, `UID`, `U_I_D` and `HASH` in place of long numbers; then container, pod
    /// and class, each empty where the path tells none.
    const PATHS: &[(&str, [&str; 3])] = &[
        // containerd, systemd driver.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
            ["ID", "UID", "Burstable"],
        ),
        (
            "/kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope",
            ["ID", "UID", "Guaranteed"],
        ),
        // containerd, cgroupfs driver.
        ("/kubepods/besteffort/podUID/ID", ["ID", "UID", "BestEffort"]),
        ("/kubepods/podUID/ID", ["ID", "UID", "Guaranteed"]),
        // containerd, where it thinks that the driver is cgroupfs and the kubelet that it is systemd.
        (
            "/system.slice/containerd.service/kubepods-besteffort-podU_I_D.slice:cri-containerd:ID",
            ["ID", "", ""],
        ),
        // CRI-O.
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/crio-ID.scope/container",
            ["ID", "UID", "BestEffort"],
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/crio-conmon-ID.scope",
            ["", "UID", "Burstable"],
        ),
        ("/kubepods/burstable/podUID/crio-ID", ["ID", "UID", "Burstable"]),
        // Static pods.
        ("/kubepods/burstable/podHASH/ID", ["ID", "HASH", "Burstable"]),
        // kind and other nodes in a container: the outermost id is the node's.
        ("/system.slice/docker-ID.scope", ["ID", "", ""]),
        ("/docker/ID", ["ID", "", ""]),
        ("/docker/ID/init.scope", ["ID", "", ""]),
        // Podman, of root and of a user.
        ("/machine.slice/libpod-ID.scope", ["ID", "", ""]),
        ("/machine.slice/libpod-ID.scope/container", ["ID", "", ""]),
        ("/machine.slice/libpod-conmon-ID.scope", [""; 3]),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            ["ID", "", ""],
        ),
        // nerdctl.
        ("/system.slice/nerdctl-ID.scope", ["ID", "", ""]),
        // The pod's own cgroup, and what is of no container.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice",
            ["", "UID", "Burstable"],
        ),
        ("/kubepods.slice/kubepods-burstable.slice", [""; 3]),
        ("/system.slice/ssh.service", [""; 3]),
        ("/user.slice/user-1000.slice/session-2.scope", [""; 3]),
        ("/system.slice/tripod.service", [""; 3]),
        ("/", [""; 3]),
        ("", [""; 3]),
    ];

    fn filled(text: &str) -> String {
        let systemd = UID.replace('-', "_");
        let text = text.replace("U_I_D", &systemd).replace("UID", UID);
        text.replace("HASH", HASH).replace("ID", ID)
    }

    #[test]
    fn a_path_tells_container_pod_and_class() {
        for (path, expected) in PATHS {
            let found = Container::of(&filled(path)).unwrap_or_default();
            let qos = found.qos.map_or("", Qos::name).to_owned();
            let told = [found.id.unwrap_or_default(), found.pod_uid.unwrap_or_default(), qos];
            let expected = expected.map(filled);
            assert_eq!(told, expected, "{path}");
        }
    }

    #[test]
    fn a_container_is_named_as_runtimes_print_it() {
        let shown = |path: &str| Container::of(&filled(path)).map(|found| found.to_string());
        assert_eq!(shown("/docker/ID").as_deref(), Some("container 3f4e5d6c7b8a"));
        let pod = shown("/kubepods/podUID/ID");
        let expected = format!("container 3f4e5d6c7b8a of pod {UID} (Guaranteed)");
        assert_eq!(pod, Some(expected));
        assert_eq!(shown("/kubepods/besteffort/podUID"), Some(format!("pod {UID} (BestEffort)")));
    }
}
