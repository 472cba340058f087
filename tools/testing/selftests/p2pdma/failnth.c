// SPDX-License-Identifier: GPL-2.0
/*
 * failnth N FILE TEXT: write TEXT into FILE, and let the N-th point of fault
 * injection that this task reaches during the write fail.
 *
 * Prints "injected=0|1 error=TEXT". injected=0: the write has fewer such points
 * than N. error is empty if the write succeeded. The file is open before, so
 * that only what the write does is hit. See fault-injection.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int must_open(const char *file, int flags)
{
	int fd = open(file, flags);

	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", file, strerror(errno));
		exit(2);
	}
	return fd;
}

int main(int argc, char **argv)
{
	int nth, fd, error = 0;
	char left[16] = "";

	if (argc != 4) {
		fprintf(stderr, "usage: failnth N FILE TEXT\n");
		return 2;
	}
	nth = must_open("/proc/self/fail-nth", O_RDWR);
	fd = must_open(argv[2], O_WRONLY);

	if (pwrite(nth, argv[1], strlen(argv[1]), 0) < 0) {
		perror("fail-nth");
		return 2;
	}
	if (write(fd, argv[3], strlen(argv[3])) < 0)
		error = errno;
	if (pread(nth, left, sizeof(left) - 1, 0) < 0 ||
	    pwrite(nth, "0", 1, 0) < 0) {
		perror("fail-nth");
		return 2;
	}
	printf("injected=%d error=%s\n", atoi(left) == 0,
	       error ? strerror(error) : "");
	return 0;
}
