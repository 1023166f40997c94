//! Fields: what a kind declares, and how a bound field is read from a row.

use crate::process::Ns;

/// How a field is encoded in JSON and what a guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    TextList,
    Unsigned,
    Signed,
    Bool,
    /// RFC 3339 in JSON, unix nanoseconds inside.
    Time,
    /// A list of objects; a guest gets the list of its leaves.
    Json,
}

/// The shape a guest's column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Text,
    TextList,
    Unsigned,
    Signed,
    Float,
    Boolean,
    /// Not known before the rows are seen: text, or a list where a row holds one.
    Dynamic,
}

impl Type {
    pub fn shape(self) -> Shape {
        match self {
            Type::Text | Type::Time => Shape::Text,
            Type::TextList | Type::Json => Shape::TextList,
            Type::Unsigned => Shape::Unsigned,
            Type::Signed => Shape::Signed,
            Type::Bool => Shape::Boolean,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::TextList => "text list",
            Type::Unsigned => "unsigned",
            Type::Signed => "signed",
            Type::Bool => "boolean",
            Type::Time => "time",
            Type::Json => "objects",
        }
    }
}

/// One field of a kind.
#[derive(Debug)]
pub struct Field {
    /// Dotted path below `EventData` (or `System`), as in the model's JSON.
    pub path: &'static str,
    pub ty: Type,
    pub doc: &'static str,
    /// Sigma names this field answers to. Several fields of a kind may share one: the first that is there counts.
    pub sigma: &'static [&'static str],
    /// Shown when the hook left it out: `true` = the key is present and null, `false` = the key is omitted.
    pub always: bool,
    /// Whether a hook of this version fills it; JSON from elsewhere may hold it all the same.
    pub filled: bool,
    /// The kernel side knows its whole value before it makes a record, and can leave out what nobody asks for.
    pub in_kernel: bool,
}

impl Field {
    pub const fn new(path: &'static str, ty: Type, doc: &'static str) -> Field {
        Field { path, ty, doc, sigma: &[], always: true, filled: true, in_kernel: false }
    }

    #[must_use]
    pub const fn sigma(mut self, names: &'static [&'static str]) -> Field {
        self.sigma = names;
        self
    }

    /// Known by name, filled by no hook yet.
    #[must_use]
    pub const fn unfilled(mut self) -> Field {
        self.filled = false;
        self.always = false;
        self
    }

    /// The kernel side filters by it.
    #[must_use]
    pub const fn in_kernel(mut self) -> Field {
        self.in_kernel = true;
        self
    }

    /// Left out of the JSON when absent.
    #[must_use]
    pub const fn optional(mut self) -> Field {
        self.always = false;
        self
    }
}

/// Attributes that come from the process behind the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessField {
    Name,
    CommandLine,
    CreateTime,
    Exe,
    Cwd,
    Username,
    Executed,
    Argv,
    Login,
    Cgroup,
    Env,
    Tty,
    Session,
    Caps,
    CapEffective,
    CapPermitted,
    Namespace(Ns),
    ParentExe,
    ParentExecuted,
    ParentCommandLine,
    ParentName,
    ParentCwd,
    ParentUser,
    UserSource,
    /// `SHA256=...`, as other tools write it.
    Hashes,
    Sha256,
    ContainerId,
    ContainerRuntime,
    ContainerName,
    ContainerImage,
    PodName,
    PodNamespace,
    ContainerLabels,
    /// Of the ancestors, the parent first.
    AncestorExes,
    AncestorExecuted,
    AncestorCommandLines,
    AncestorNames,
    AncestorUsers,
}

/// An attribute with its path, Sigma names, type and doc.
pub type ProcessLine = (ProcessField, &'static str, &'static [&'static str], Type, &'static str);

impl ProcessField {
    /// Whether it is the parent's, and nothing else is read for it.
    pub fn is_of_parent(self) -> bool {
        matches!(
            self,
            ProcessField::ParentExe
                | ProcessField::ParentExecuted
                | ProcessField::ParentCommandLine
                | ProcessField::ParentName
                | ProcessField::ParentCwd
                | ProcessField::ParentUser
        )
    }

    /// For a value of the ancestors, its key in the JSON of each.
    pub fn ancestors_key(self) -> Option<&'static str> {
        Some(match self {
            ProcessField::AncestorExes => "exe",
            ProcessField::AncestorExecuted => "executed",
            ProcessField::AncestorCommandLines => "cmdline",
            ProcessField::AncestorNames => "name",
            ProcessField::AncestorUsers => "user",
            _ => return None,
        })
    }

    /// Path, Sigma names, type and doc of every attribute: the single table behind binding, rendering and `picket fields`.
    pub const TABLE: &'static [ProcessLine] = &[
        (ProcessField::Name, "EventData.ProcInfo.Name", &[], Type::Text, "comm of the process"),
        (
            ProcessField::CommandLine,
            "EventData.ProcInfo.CommandLine",
            &["CommandLine"],
            Type::Text,
            "arguments joined by spaces",
        ),
        (ProcessField::CreateTime, "EventData.ProcInfo.CreateTime", &[], Type::Time, "start of the process"),
        (
            ProcessField::Exe,
            "EventData.ProcInfo.Exe",
            &["Image", "SourceImage"],
            Type::Text,
            "resolved path of the executable",
        ),
        (
            ProcessField::Cwd,
            "EventData.ProcInfo.Cwd",
            &["CurrentDirectory"],
            Type::Text,
            "working directory when the program started",
        ),
        (
            ProcessField::Username,
            "EventData.ProcInfo.Username",
            &["User"],
            Type::Text,
            "name of the effective user, its number where there is no name",
        ),
        (
            ProcessField::Executed,
            "context.process.executed",
            &["ExecutedImage"],
            Type::Text,
            "path as executed, before links are resolved",
        ),
        (ProcessField::Argv, "context.process.argv", &[], Type::TextList, "arguments as a list"),
        (
            ProcessField::Login,
            "context.process.login",
            &["LoginUser"],
            Type::Text,
            "name of the user who logged in (audit login uid)",
        ),
        (ProcessField::Cgroup, "context.process.cgroup", &[], Type::Text, "leaf name of the control group"),
        (
            ProcessField::Env,
            "context.process.env",
            &[],
            Type::TextList,
            "LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH and SSH_CONNECTION of its environment, those that are set",
        ),
        (ProcessField::Tty, "context.process.tty", &[], Type::Text, "controlling terminal"),
        (ProcessField::Session, "context.process.session", &[], Type::Unsigned, "leader of its session"),
        (ProcessField::Caps, "context.process.caps", &[], Type::TextList, "names of its effective capabilities"),
        (
            ProcessField::CapEffective,
            "context.process.cap_effective",
            &[],
            Type::Unsigned,
            "effective capabilities as a number, when it started or at its last exec",
        ),
        (
            ProcessField::CapPermitted,
            "context.process.cap_permitted",
            &[],
            Type::Unsigned,
            "permitted capabilities as a number, when it started or at its last exec",
        ),
        (ProcessField::Namespace(Ns::Mnt), "context.process.namespaces.mnt", &[], Type::Unsigned, "mount namespace"),
        (ProcessField::Namespace(Ns::Pid), "context.process.namespaces.pid", &[], Type::Unsigned, "pid namespace"),
        (ProcessField::Namespace(Ns::Net), "context.process.namespaces.net", &[], Type::Unsigned, "network namespace"),
        (ProcessField::Namespace(Ns::User), "context.process.namespaces.user", &[], Type::Unsigned, "user namespace"),
        (
            ProcessField::Namespace(Ns::Cgroup),
            "context.process.namespaces.cgroup",
            &[],
            Type::Unsigned,
            "control group namespace",
        ),
        (
            ProcessField::Namespace(Ns::Uts),
            "context.process.namespaces.uts",
            &[],
            Type::Unsigned,
            "host name namespace",
        ),
        (ProcessField::Namespace(Ns::Ipc), "context.process.namespaces.ipc", &[], Type::Unsigned, "IPC namespace"),
        (
            ProcessField::UserSource,
            "context.process.user_source",
            &[],
            Type::Text,
            "whose list of users `User` is from, host or container; absent for a number",
        ),
        (
            ProcessField::Hashes,
            "context.process.hashes",
            &["Hashes"],
            Type::Text,
            "SHA256= and the hash of the executable, in lower case; only hashed when a guest asks for it",
        ),
        (
            ProcessField::Sha256,
            "context.process.sha256",
            &["sha256"],
            Type::Text,
            "SHA-256 of the executable, likewise",
        ),
        (ProcessField::ContainerId, "context.container.id", &["ContainerId"], Type::Text, "id of the container"),
        (
            ProcessField::ContainerRuntime,
            "context.container.runtime",
            &["ContainerRuntime"],
            Type::Text,
            "docker, podman, containerd or cri-o",
        ),
        (
            ProcessField::ContainerName,
            "context.container.name",
            &["ContainerName"],
            Type::Text,
            "name of the container; this and what follows only once the runtime has told it, moments after the first event",
        ),
        (
            ProcessField::ContainerImage,
            "context.container.image",
            &["ContainerImage"],
            Type::Text,
            "image it was made from",
        ),
        (ProcessField::PodName, "context.container.pod", &["PodName"], Type::Text, "pod it belongs to"),
        (
            ProcessField::PodNamespace,
            "context.container.namespace",
            &["PodNamespace"],
            Type::Text,
            "Kubernetes namespace of the pod",
        ),
        (
            ProcessField::ContainerLabels,
            "context.container.labels",
            &["ContainerLabels"],
            Type::TextList,
            "labels of the container, each as key=value",
        ),
        (ProcessField::ParentExe, "context.parent.exe", &["ParentImage"], Type::Text, "executable of the creator"),
        (
            ProcessField::ParentExecuted,
            "context.parent.executed",
            &["ParentExecutedImage"],
            Type::Text,
            "path of the creator as executed",
        ),
        (
            ProcessField::ParentCommandLine,
            "context.parent.cmdline",
            &["ParentCommandLine"],
            Type::Text,
            "arguments of the creator joined by spaces",
        ),
        (ProcessField::ParentName, "context.parent.name", &[], Type::Text, "comm of the creator"),
        (ProcessField::ParentCwd, "context.parent.cwd", &[], Type::Text, "working directory of the creator"),
        (ProcessField::ParentUser, "context.parent.user", &["ParentUser"], Type::Text, "effective user of the creator"),
        (
            ProcessField::AncestorExes,
            "@ancestors.Image",
            &["Ancestors"],
            Type::TextList,
            "executables of up to ten ancestors, nearest first; ancestors are creators, whoever lives",
        ),
        (ProcessField::AncestorExecuted, "@ancestors.ExecutedImage", &[], Type::TextList, "their paths as executed"),
        (ProcessField::AncestorCommandLines, "@ancestors.CommandLine", &[], Type::TextList, "their command lines"),
        (ProcessField::AncestorNames, "@ancestors.Name", &[], Type::TextList, "their comm"),
        (ProcessField::AncestorUsers, "@ancestors.User", &[], Type::TextList, "their effective users"),
    ];
}

impl Access {
    /// Whether it reads the hash of an executable, which is not made unless somebody asks.
    pub fn is_hash(&self) -> bool {
        matches!(self, Access::Process(ProcessField::Hashes | ProcessField::Sha256))
    }
}

/// How to read a bound field from a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// A system cell.
    System(u16),
    /// Per kind (index = `KindId`), the cells of that kind that answer to the name, in order of preference.
    Cells(Box<[Box<[u16]>]>),
    Process(ProcessField),
    /// The whole event as JSON text (`@json`) is not a cell: a guest asks the lookup interface for it.
    /// All leaves as text, for keyword rules (`@values`).
    Values,
    /// The kind's name.
    Kind,
    /// Unique id of the process (`@process`).
    ProcessId,
    /// A column an enricher added.
    Enriched {
        slot: u16,
        output: u16,
    },
    /// A dotted path (or a flat key) of foreign JSON.
    Dynamic(Box<str>),
    /// Nothing here ever fills it.
    Never,
}
