// SPDX-License-Identifier: MIT
/* What comes from sockets and goes there, as test_io.c has it: the plain call first. */
#include "io/io.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void send_pattern(int fd, size_t n)
{
	CU_ASSERT_EQUAL(PLAIN(send)(fd, pattern + START, n, 0), (ssize_t)n);
}

void test_recv(void)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int s[2];
	char *p;

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	send_pattern(s[0], LENGTH);
	p = away(false);
	CU_ASSERT(FAULTS(PLAIN(recv)(s[1], p, LENGTH, 0)));
	CU_ASSERT_EQUAL(recv(s[1], p, LENGTH, 0), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));

	send_pattern(s[0], LENGTH);
	p = away(false);
	CU_ASSERT(FAULTS(PLAIN(recvfrom)(s[1], p, LENGTH, 0, NULL, NULL)));
	CU_ASSERT_EQUAL(recvfrom(s[1], p, LENGTH, 0, (struct sockaddr *)&addr, &len), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));
	close(s[0]);
	close(s[1]);
}

/* A failed receive eats the datagram: nothing may be asked before the pages are here. */
void test_datagram(void)
{
	int s[2];
	char *p;

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
	send_pattern(s[0], LENGTH);
	p = away(false);
	CU_ASSERT(FAULTS(PLAIN(recv)(s[1], p, LENGTH, MSG_DONTWAIT)));
	send_pattern(s[0], LENGTH);
	p = away(false);
	CU_ASSERT_EQUAL(recv(s[1], p, LENGTH, MSG_DONTWAIT), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));
	close(s[0]);
	close(s[1]);
}

static bool stream_has_pattern(int fd)
{
	static char back[PAGER_BYTES];

	return PLAIN(recv)(fd, back, LENGTH, MSG_WAITALL) == (ssize_t)LENGTH &&
	       has_pattern(back, LENGTH);
}

void test_send(void)
{
	int s[2];

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CU_ASSERT(FAULTS(PLAIN(send)(s[0], away(true), LENGTH, 0)));
	CU_ASSERT_EQUAL(send(s[0], away(true), LENGTH, 0), LENGTH);
	CU_ASSERT(stream_has_pattern(s[1]));
	CU_ASSERT(FAULTS(PLAIN(sendto)(s[0], away(true), LENGTH, 0, NULL, 0)));
	CU_ASSERT_EQUAL(sendto(s[0], away(true), LENGTH, 0, NULL, 0), LENGTH);
	CU_ASSERT(stream_has_pattern(s[1]));
	close(s[0]);
	close(s[1]);
}

void test_messages(void)
{
	struct iovec v[2];
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	int s[2];
	char *p;

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	p = away(true);
	v[0] = (struct iovec){ p, 500 };
	v[1] = (struct iovec){ p + 500, LENGTH - 500 };
	CU_ASSERT(FAULTS(PLAIN(sendmsg)(s[0], &m, 0)));
	CU_ASSERT_EQUAL(sendmsg(s[0], &m, 0), LENGTH);
	CU_ASSERT(stream_has_pattern(s[1]));

	send_pattern(s[0], LENGTH);
	away(false);
	CU_ASSERT(FAULTS(PLAIN(recvmsg)(s[1], &m, 0)));
	CU_ASSERT_EQUAL(recvmsg(s[1], &m, 0), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));
	close(s[0]);
	close(s[1]);
}

/* A descriptor in a control message arrives although its room was away. */
void test_control_message(void)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c = { .align = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	char byte = 'x', *p;
	struct iovec v = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)
	};
	int s[2], got = -1;

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	memcpy(CMSG_DATA(&c.align), &file, sizeof(file));
	CU_ASSERT_EQUAL(sendmsg(s[0], &m, 0), 1);
	p = away(false) - START;
	m.msg_control = p;
	CU_ASSERT_EQUAL(recvmsg(s[1], &m, 0), 1);
	CU_ASSERT_EQUAL(m.msg_controllen, sizeof(c));
	memcpy(&got, CMSG_DATA((struct cmsghdr *)p), sizeof(got));
	CU_ASSERT(got > 2 && !close(got));
	close(s[0]);
	close(s[1]);
}
