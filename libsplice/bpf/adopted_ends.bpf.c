// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
//
// The end of an adopted connection, for the connection log. The bridge that adopts sees packets, but the kernel's own
// socket has the connection: here the kernel says that a socket closes, and the socket's counters say what it carried.
// bridge_adopt.bpf.c notes which connections are in the sample; all others cost one lookup when they end.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/datapath/sample.h"

char ends_license[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPLICE_SAMPLED_CONNECTIONS);
	__type(key, struct splice_flow_key);
	__type(value, struct splice_sampled_connection);
} sampled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct splice_bridge_counters);
} counters SEC(".maps");

/* The inode of the bridge's network namespace: the tracepoint tells of those of all. */
const volatile __u32 own_namespace SEC(".rodata.netns") = 0;

/* Of the kernel's structs what is read here, found by name when the program is loaded (CO-RE). */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
};

struct inet_sock {
	__u16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_una;
	__u32 write_seq;
	__u64 bytes_acked;
	__u64 bytes_received;
};

#pragma clang attribute pop

#define FAMILY_IPV4 2 /* AF_INET */
#define FAMILY_IPV6 10 /* AF_INET6 */
#define SOCK_DONE 1 /* bit of sk_flags: the peer's FIN has come (enum sock_flags of net/sock.h) */
#define TIMED_OUT 110 /* ETIMEDOUT */

/* The socket's own port is read where the kernel leaves it: a socket that closes has given skc_num back already. */
static __always_inline int read_key(const struct sock *socket, const struct tcp_sock *tcp, struct splice_flow_key *key)
{
	const struct sock_common *ends = &socket->__sk_common;

	__builtin_memset(key, 0, sizeof(*key));
	if (ends->skc_family == FAMILY_IPV4) {
		splice_address_from_ipv4(&key->client, ends->skc_daddr);
		splice_address_from_ipv4(&key->server, ends->skc_rcv_saddr);
	} else if (ends->skc_family == FAMILY_IPV6) {
		/* IPv4 is mapped there as it is here. */
		bpf_probe_read_kernel(&key->client, sizeof(key->client), &ends->skc_v6_daddr);
		bpf_probe_read_kernel(&key->server, sizeof(key->server), &ends->skc_v6_rcv_saddr);
	} else {
		return 0;
	}
	key->client_port = ends->skc_dport;
	key->server_port = tcp->inet_conn.icsk_inet.inet_sport;
	return 1;
}

/* 1 for a state in which our side has sent its FIN. */
static __always_inline int has_closed(int state)
{
	return state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_CLOSING ||
	       state == BPF_TCP_LAST_ACK || state == BPF_TCP_TIME_WAIT;
}

/* `state`: the last one before it was closed. A socket that is closed at once, or by a RST, was in another one. */
static __always_inline enum splice_connection_end end_of(const struct sock *socket, int state)
{
	if (socket->sk_err == TIMED_OUT) return SPLICE_END_TIMEOUT;
	if (socket->sk_err || !has_closed(state) || state == BPF_TCP_FIN_WAIT1) return SPLICE_END_RESET;
	return SPLICE_END_FIN;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(adopted_end, const struct sock *socket, int before, int after)
{
	const struct splice_sampled_connection *connection;
	struct splice_bridge_counters *mine;
	struct splice_told_end *record;
	struct splice_flow_key key;
	const __u32 zero = 0;

	(void)ctx;
	if (after != BPF_TCP_CLOSE || before == BPF_TCP_LISTEN || before == BPF_TCP_SYN_SENT) return 0;
	if (socket->__sk_common.skc_net.net->ns.inum != own_namespace) return 0;
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock((void *)socket);
	if (!tcp || !read_key(socket, tcp, &key)) return 0;
	connection = bpf_map_lookup_elem(&sampled, &key);
	if (!connection) return 0;
	record = bpf_ringbuf_reserve(&told, sizeof(*record), 0);
	if (record) {
		record->flow = key;
		record->since_ns = connection->since_ns;
		record->until_ns = bpf_ktime_get_ns();
		/* The socket counts each FIN as a byte. */
		record->sent = tcp->bytes_acked - (has_closed(before) && tcp->bytes_acked && tcp->snd_una == tcp->write_seq);
		record->received = tcp->bytes_received -
				   (tcp->bytes_received && (socket->__sk_common.skc_flags >> SOCK_DONE & 1));
		record->service = connection->service;
		record->end = (__u8)end_of(socket, before);
		__builtin_memset(record->zero, 0, sizeof(record->zero));
		bpf_ringbuf_submit(record, 0);
	} else {
		mine = bpf_map_lookup_elem(&counters, &zero);
		if (mine) mine->common.untold++;
	}
	bpf_map_delete_elem(&sampled, &key);
	return 0;
}
