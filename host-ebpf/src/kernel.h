/* The kernel types that Picket reads, by hand and no more than it reads.
 *
 * Only names and the kind of each type matter: every access is relocated (CO-RE) against the running
 * kernel's BTF when the object is loaded. A generated vmlinux.h would be 3 MB and no more exact.
 * A suffix after three underscores marks another kernel's shape of the same type.
 */
#pragma once
#define __VMLINUX_H__ /* registers by the kernel's names in bpf_tracing.h */

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
enum { false = 0, true = 1 };

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	u32 val;
} kuid_t;
typedef struct {
	u32 val;
} kgid_t;
struct ns_common {
	u32 inum;
};
struct user_namespace {
	struct ns_common ns;
};
/* Two words before 6.3, one since: 64 bits either way. */
typedef struct {
	u64 val;
} kernel_cap_t;
struct cred {
	kuid_t uid, euid;
	kgid_t gid, egid;
	kernel_cap_t cap_permitted, cap_effective;
	struct user_namespace *user_ns;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct pid_namespace {
	struct ns_common ns;
};
struct new_utsname {
	char nodename[65];
};
struct uts_namespace {
	struct new_utsname name;
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct cgroup_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct qstr {
	u32 len;
	const unsigned char *name;
};
struct super_block {
	u32 s_dev;
	unsigned long s_flags;
	unsigned long s_magic;
};
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};
struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct inode___before_6_6 {
	struct timespec64 i_ctime;
};
struct inode___6_6 {
	struct timespec64 __i_ctime;
};
struct inode___6_11 {
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};
struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};
struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};
struct vfsmount {
	struct dentry *mnt_root;
	int mnt_flags;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct fs_struct {
	struct path root, pwd;
};

struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
	u64 id;
};
struct kernfs_node___6_15 {
	struct kernfs_node *__parent;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[4];
	struct cgroup *dfl_cgrp;
};
struct tty_struct {
	char name[64];
};
struct signal_struct {
	struct {
		int counter;
	} live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
	struct tty_struct *tty;
	struct pid *pids[4];
};
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
	unsigned long saved_auxv[44];
};
struct thread_info {
	unsigned long flags;
	u32 status;
};
struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	int pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	struct mm_struct *mm;
	const struct cred *cred;
	kuid_t loginuid;
	unsigned int sessionid;
	struct nsproxy *nsproxy;
	struct files_struct *files;
	struct fs_struct *fs;
	struct signal_struct *signal;
	struct css_set *cgroups;
	u64 start_boottime;
	int exit_code;
	char comm[16];
};
struct linux_binprm {
	struct file *file;
	const char *filename, *interp;
	int argc;
	unsigned int secureexec : 1;
};
struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
};

typedef struct {
	struct net *net;
} possible_net_t;
struct net {
	struct ns_common ns;
};
struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};
struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
typedef struct {
	int owned;
} socket_lock_t;
struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	u16 sk_type, sk_protocol;
};
struct socket {
	short type;
	struct sock *sk;
};
struct sockaddr_un {
	unsigned short sun_family;
};
struct unix_address {
	int len;
	struct sockaddr_un name[];
};
struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};
struct sockaddr {
	unsigned short sa_family;
};

struct open_how {
	u64 flags;
};
struct filename {
	const char *name;
};
struct io_open {
	u32 file_slot;
	struct open_how how;
};
struct io_accept {
	u32 file_slot;
};
struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};
struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_rsrc_node {
	unsigned long file_ptr;
};
struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
};
struct io_file_table {
	struct io_rsrc_data data;
};
struct io_ring_ctx {
	struct io_file_table file_table;
};
struct io_kiocb {
	u8 opcode;
};
struct io_uring_cqe {
	s32 res;
};

struct module {
	char name[56];
	const char *version, *srcversion;
};

enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC };
enum bpf_attach_type { BPF_CGROUP_INET_INGRESS };
enum bpf_link_type { BPF_LINK_TYPE_UNSPEC, BPF_LINK_TYPE_RAW_TRACEPOINT, BPF_LINK_TYPE_TRACING, BPF_LINK_TYPE_PERF_EVENT = 7 };
struct bpf_prog_aux {
	u32 id;
	char name[16];
	const char *attach_func_name;
};
struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	struct bpf_prog_aux *aux;
};
struct bpf_link {
	enum bpf_link_type type;
	struct bpf_prog *prog;
};
struct tracepoint {
	const char *name;
};
struct bpf_raw_event_map {
	struct tracepoint *tp;
};
struct bpf_raw_tp_link {
	struct bpf_raw_event_map *btp;
};
struct bpf_perf_link {
	struct file *perf_file;
};
struct trace_event_call {
	char *name;
	int flags;
};
struct trace_event_call___tracepoint {
	struct tracepoint *tp;
};
struct event_filter;
struct trace_event_call___before_6_12 {
	struct event_filter *filter;
};
struct trace_event_call___5_15 {
	struct {
	} refcnt;
};
struct perf_event_attr {
	u32 type;
	u64 config;
};
struct perf_event {
	struct perf_event_attr attr;
	struct bpf_prog *prog;
	struct trace_event_call *tp_event;
};
struct list_head {
	struct list_head *next;
};
struct kprobe {
	void *addr;
};
struct kretprobe {
	struct kprobe kp;
	void *handler;
};
struct trace_probe_event {
	struct trace_event_call call;
	struct list_head probes;
};
struct trace_probe {
	struct list_head list;
};
struct trace_kprobe {
	struct kretprobe rp;
	const char *symbol;
	struct trace_probe tp;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bp, bx, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	unsigned long long regs[31];
};
struct pt_regs {
	unsigned long long regs[31];
	u64 orig_x0;
	s32 syscallno;
};
#else
#error "Picket knows the registers of x86-64 and arm64"
#endif

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158, BPF_FUNC_task_pt_regs = 175 };

#pragma clang attribute pop

/* What programs at control groups are given: laid out by the user-space interface for good, so not relocated. */
struct bpf_sock;
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex;
	u32 rest[31];
	struct bpf_sock *sk;
};
struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol, msg_src_ip4, msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};
