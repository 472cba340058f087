// SPDX-License-Identifier: GPL-2.0
/*
 * Direct and passthrough I/O of a process whose buffer is made of ordinary and
 * of peer memory, page by page: see usage(). Prints what the kernel answered,
 * and exits with 1 if data is not what it should be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 512

static size_t page_size;
static int keeps_data = 1;

static void usage(void)
{
	fputs("block_buffer io DISK FILE LAYOUT OFFSET\n"
	      "	write the buffer to DISK with O_DIRECT, and read it back into\n"
	      "	the buffer; compare both with what an ordinary buffer shows\n"
	      "block_buffer pass DISK NSID FILE LAYOUT OFFSET\n"
	      "	the same with NVMe passthrough commands\n"
	      "block_buffer look DISK FILE LAYOUT OFFSET\n"
	      "	as io, but nothing is compared: for disks that keep no data\n"
	      "LAYOUT has one letter for each page: h is ordinary memory, p is\n"
	      "peer memory of FILE (.../p2pmem/allocate). The data starts OFFSET\n"
	      "bytes into the buffer, a multiple of 4, and fills what is left,\n"
	      "rounded down to blocks of 512 bytes.\n", stderr);
	exit(2);
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* Runs of peer pages are one mapping each, in the middle of ordinary memory. */
static char *make_buffer(const char *file, const char *layout)
{
	size_t pages = strlen(layout), i, run;
	char *buf;
	int fd;

	buf = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		die("mmap");
	fd = open(file, O_RDWR);
	if (fd < 0)
		die(file);
	for (i = 0; i < pages; i += run ? run : 1) {
		run = strspn(layout + i, "p");
		if (run && mmap(buf + i * page_size, run * page_size,
				PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				fd, 0) == MAP_FAILED)
			die("mmap of peer memory");
	}
	close(fd);
	return buf;
}

/* Peer memory is accessed in aligned words, each exactly once. */
static void store(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i += 4)
		__atomic_store_n((unsigned int *)(to + i),
				 *(const unsigned int *)(from + i),
				 __ATOMIC_RELAXED);
}

static void compare(const char *have, const char *want, size_t len,
		    const char *what)
{
	for (size_t i = 0; keeps_data && i < len; i += 4) {
		unsigned int word = __atomic_load_n((const unsigned int *)(have + i),
						__ATOMIC_RELAXED);

		if (word != *(const unsigned int *)(want + i)) {
			fprintf(stderr, "%s: differs at byte %zu of %zu\n",
				what, i, len);
			exit(1);
		}
	}
}

static void randomize(char *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 4)
		*(unsigned int *)(buf + i) = (unsigned int)random();
}

/* Return: bytes; what stopped it, if anything, is in errno. */
typedef size_t (*mover_t)(int fd, char *buf, size_t len, int write);

static size_t move_direct(int fd, char *buf, size_t len, int write)
{
	size_t done = 0;
	ssize_t ret;

	errno = 0;
	while (done < len) {
		ret = write ? pwrite(fd, buf + done, len - done, done) :
			      pread(fd, buf + done, len - done, done);
		if (ret <= 0)
			break;
		done += ret;
	}
	return done;
}

static unsigned int nsid;

static size_t move_passthrough(int fd, char *buf, size_t len, int write)
{
	struct nvme_passthru_cmd cmd = {
		.opcode = write ? 1 : 2,
		.nsid = nsid,
		.addr = (uintptr_t)buf,
		.data_len = len,
		.cdw12 = len / BLOCK - 1,
	};
	int ret;

	errno = 0;
	ret = ioctl(fd, NVME_IOCTL_IO_CMD, &cmd);
	if (ret > 0)
		errno = EIO;
	return ret ? 0 : len;
}

static char *ordinary_buffer(size_t len)
{
	char *buf = aligned_alloc(page_size,
				  (len + page_size - 1) & -page_size);

	if (!buf)
		die("aligned_alloc");
	return buf;
}

static void plain(int fd, char *buf, size_t len, int write)
{
	if (move_direct(fd, buf, len, write) != len)
		die("I/O with ordinary memory");
}

static void both_ways(const char *disk, char *buf, size_t len, mover_t move)
{
	char *want = ordinary_buffer(len), *have = ordinary_buffer(len);
	int fd = open(disk, O_RDWR | O_DIRECT);
	size_t done;

	if (fd < 0)
		die(disk);
	memset(have, 0, len);
	plain(fd, have, len, 1);
	randomize(want, len);
	store(buf, want, len);
	done = move(fd, buf, len, 1);
	printf("written=%zu write_error=%d ", done, errno);
	fsync(fd);
	plain(fd, have, len, 0);
	compare(have, want, done, "written data");

	randomize(want, len);
	plain(fd, want, len, 1);
	memset(have, 0, len);
	store(buf, have, len);
	done = move(fd, buf, len, 0);
	printf("read=%zu read_error=%d\n", done, errno);
	compare(buf, want, done, "read data");
	close(fd);
	free(want);
	free(have);
}

int main(int argc, char **argv)
{
	mover_t move = move_direct;
	size_t offset, size;
	char *buf;

	page_size = sysconf(_SC_PAGESIZE);
	if (argc == 7 && !strcmp(argv[1], "pass")) {
		move = move_passthrough;
		nsid = strtoul(argv[3], NULL, 0);
		argv[3] = argv[2];
		argv++;
	} else if (argc == 6 && !strcmp(argv[1], "look")) {
		keeps_data = 0;
	} else if (argc != 6 || strcmp(argv[1], "io")) {
		usage();
	}
	offset = strtoul(argv[5], NULL, 0);
	size = strlen(argv[4]) * page_size;
	if (offset % 4 || offset + BLOCK > size)
		usage();
	buf = make_buffer(argv[3], argv[4]);
	both_ways(argv[2], buf + offset, (size - offset) / BLOCK * BLOCK, move);
	if (munmap(buf, size))
		die("munmap");
	return 0;
}
