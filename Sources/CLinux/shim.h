/* What Glibc's Swift overlay leaves out: epoll, eventfd, timerfd, accept4 and the C macros around them.
   Declarations and static inline shims only; no logic. */
#ifndef BALLAST_CLINUX_SHIM_H
#define BALLAST_CLINUX_SHIM_H

/* _GNU_SOURCE stays undefined: it would change structs that other modules import as well. */
#include <crypt.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

/* glibc declares these for _GNU_SOURCE alone. */
extern int accept4(int, struct sockaddr *__restrict, socklen_t *__restrict, int);
extern int sched_getaffinity(pid_t, size_t, cpu_set_t *);

static inline int clinux_accept(int fd, struct sockaddr_storage *from, socklen_t *size) {
    return accept4(fd, (struct sockaddr *)from, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static inline int clinux_stream_socket(int family) {
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static inline int clinux_datagram_socket(int family) {
    return socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* From now on a listening socket drops every SYN: who has begun to connect gets there, and nobody new begins. */
static inline int clinux_drop_syns(int fd) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),      /* TCP's flags */
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 1), /* SYN */
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static inline int clinux_undumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

/* Bytes in the send queue that the peer has not acknowledged; -1 where it is no socket. */
static inline int clinux_unsent(int fd) {
    int count = 0;
    return ioctl(fd, SIOCOUTQ, &count) == 0 ? count : -1;
}

static inline int clinux_epoll_add(int set, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

enum { clinux_epoll_batch = 256 };

/* Waits and splits the events, whose packed struct Swift cannot use safely, into two arrays of a batch each. */
static inline int clinux_epoll_wait(int set, uint64_t *tokens, uint32_t *events, int milliseconds) {
    struct epoll_event batch[clinux_epoll_batch];
    int count = epoll_wait(set, batch, clinux_epoll_batch, milliseconds);
    for (int i = 0; i < count; i++) {
        tokens[i] = batch[i].data.u64;
        events[i] = batch[i].events;
    }
    return count;
}

/* One send of up to two pieces. A single one goes without a message header, which the kernel would have to read. */
static inline ssize_t clinux_send2(int fd, const void *a, size_t a_size, const void *b, size_t b_size) {
    if (b_size == 0) return send(fd, a, a_size, MSG_NOSIGNAL);
    if (a_size == 0) return send(fd, b, b_size, MSG_NOSIGNAL);
    struct iovec pieces[2] = {{(void *)a, a_size}, {(void *)b, b_size}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* The number of CPUs this process may run on; 0 when the kernel does not say. */
static inline int clinux_affinity_count(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? __sched_cpucount(sizeof set, &set) : 0;
}

static const uint32_t clinux_in = EPOLLIN;
static const uint32_t clinux_out = EPOLLOUT;
static const uint32_t clinux_rdhup = EPOLLRDHUP;
static const uint32_t clinux_hup = EPOLLHUP;
static const uint32_t clinux_err = EPOLLERR;
static const uint32_t clinux_edge = EPOLLET;
static const uint32_t clinux_exclusive = EPOLLEXCLUSIVE;

#endif
