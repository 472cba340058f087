// SPDX-License-Identifier: GPL-2.0
/*
 * Does with mapped BAR memory what a shell cannot: see usage() below. FILE is
 * .../p2pmem/allocate, and for "scribble" and "sqes" the resource file of a
 * BAR. Prints what went wrong to stderr; exit status 0 only if nothing did.
 */
#define _GNU_SOURCE	/* SCHED_IDLE, CPU sets */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long page_size;

static void usage(void)
{
	fputs("p2pmem_mmap map FILE SIZE [private | OFFSET]\n"
	      "	map it, unmap it\n"
	      "p2pmem_mmap fill FILE SIZE BYTE\n"
	      "	map, check that all is zero, fill it, unmap\n"
	      "p2pmem_mmap copy FILE SRC DST SRC_OFFSET DST_OFFSET LENGTH CHUNK\n"
	      "	copy with O_DIRECT through mapped memory\n"
	      "p2pmem_mmap fork FILE SIZE\n"
	      "	share it with a child, which outlives the mapping\n"
	      "p2pmem_mmap grow FILE SIZE\n"
	      "	mremap to twice the size, which has to fail\n"
	      "p2pmem_mmap protect FILE SIZE\n"
	      "	write a mapping that was read-only in between\n"
	      "p2pmem_mmap hole FILE SIZE\n"
	      "	unmap the second page; then as hold\n"
	      "p2pmem_mmap hold FILE SIZE\n"
	      "	print \"ready\", wait for a line, print \"alive\" or \"SIGBUS\"\n"
	      "p2pmem_mmap busy FILE SIZE SRC\n"
	      "	read SRC with O_DIRECT into the memory until that fails or stdin\n"
	      "	ends; print \"ready\" after the first read, the number at the end\n"
	      "p2pmem_mmap stall DEVICE BDF SECONDS\n"
	      "	unbind the device while a process has no CPU in mmap(); print\n"
	      "	\"hit\", or \"missed\" if that moment was not found in SECONDS;\n"
	      "	fail if unbinding takes longer\n"
	      "p2pmem_mmap scribble FILE BYTE [OFFSET]\n"
	      "	fill the BAR from OFFSET, whoever uses it\n"
	      "p2pmem_mmap sqes FILE NSID\n"
	      "	count what looks like NVMe read and write commands\n", stderr);
	exit(2);
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void wrong(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static unsigned long number(const char *word)
{
	char *end;
	unsigned long value = strtoul(word, &end, 0);

	if (end == word || *end)
		usage();
	return value;
}

static int open_or_die(const char *file, int flags)
{
	int fd = open(file, flags);

	if (fd < 0)
		die(file);
	return fd;
}

static uint32_t *map_flags(const char *file, size_t size, int flags,
			   off_t offset)
{
	int fd = open_or_die(file, O_RDWR);
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	if (mem == MAP_FAILED)
		die("mmap");
	close(fd);
	return mem;
}

static uint32_t *map(const char *file, size_t size)
{
	return map_flags(file, size, MAP_SHARED, 0);
}

static void unmap(void *mem, size_t size)
{
	if (munmap(mem, size))
		die("munmap");
}

/* This is I/O memory: one access for each aligned word, and none is left out. */
static uint32_t get(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void put(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static void set(uint32_t *mem, size_t size, uint32_t value)
{
	for (size_t i = 0; i < size / sizeof(*mem); i++)
		put(mem + i, value);
}

static void expect(uint32_t *mem, size_t size, uint32_t value, const char *what)
{
	for (size_t i = 0; i < size / sizeof(*mem); i++) {
		uint32_t found = get(mem + i);

		if (found != value) {
			fprintf(stderr, "%s: word %zu is %#x, should be %#x\n",
				what, i, found, value);
			exit(1);
		}
	}
}

static int cmd_map(int argc, char **argv)
{
	size_t size = number(argv[1]);
	int flags = MAP_SHARED;
	off_t offset = 0;

	if (argc > 2 && !strcmp(argv[2], "private"))
		flags = MAP_PRIVATE;
	else if (argc > 2)
		offset = number(argv[2]);
	unmap(map_flags(argv[0], size, flags, offset), size);
	return 0;
}

static int cmd_fill(int argc, char **argv)
{
	size_t size = number(argv[1]);
	uint32_t *mem = map(argv[0], size);

	expect(mem, size, 0, "new memory");
	set(mem, size, 0x01010101 * (uint8_t)number(argv[2]));
	expect(mem, size, 0x01010101 * (uint8_t)number(argv[2]), "what was written");
	unmap(mem, size);
	return 0;
}

static int cmd_copy(int argc, char **argv)
{
	int src = open_or_die(argv[1], O_RDONLY | O_DIRECT);
	int dst = open_or_die(argv[2], O_WRONLY | O_DIRECT);
	off_t from = number(argv[3]), to = number(argv[4]);
	size_t left = number(argv[5]), chunk = number(argv[6]), len;
	size_t size = (chunk + page_size - 1) & ~(page_size - 1);
	void *mem = map(argv[0], size);

	for (; left; left -= len, from += len, to += len) {
		len = left < chunk ? left : chunk;
		errno = 0;
		if (pread(src, mem, len, from) != (ssize_t)len)
			die(argv[1]);
		if (pwrite(dst, mem, len, to) != (ssize_t)len)
			die(argv[2]);
	}
	if (fsync(dst))
		die("fsync");
	unmap(mem, size);
	return 0;
}

static int cmd_fork(int argc, char **argv)
{
	size_t size = number(argv[1]);
	uint32_t *mem = map(argv[0], size);
	int there[2], back[2], status;
	char byte = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		die("pipe");
	set(mem, size, 0x11111111);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		expect(mem, size, 0x11111111, "the parent's data in the child");
		set(mem, size, 0x22222222);
		if (write(back[1], &byte, 1) != 1 || read(there[0], &byte, 1) != 1)
			die("pipe");
		/* The parent has unmapped it: it must still be the child's. */
		expect(mem, size, 0x22222222, "after the parent unmapped");
		_exit(0);
	}
	close(back[1]);
	if (read(back[0], &byte, 1) == 1) {
		expect(mem, size, 0x22222222, "the child's data in the parent");
		unmap(mem, size);
		if (write(there[1], &byte, 1) != 1)
			die("pipe");
	}
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		wrong("the child failed");
	return 0;
}

/*
 * A page that becomes writable again takes a fault of its own. One that never
 * ends is what the alarm is for.
 */
static int cmd_protect(int argc, char **argv)
{
	size_t size = number(argv[1]);
	uint32_t *mem = map(argv[0], size);

	alarm(30);
	if (mprotect(mem, size, PROT_READ))
		die("mprotect to read");
	expect(mem, size, 0, "fresh memory");
	if (mprotect(mem, size, PROT_READ | PROT_WRITE))
		die("mprotect to write");
	set(mem, size, 0x5a5a5a5a);
	expect(mem, size, 0x5a5a5a5a, "after writing");
	unmap(mem, size);
	return 0;
}

static int cmd_grow(int argc, char **argv)
{
	size_t size = number(argv[1]);
	void *mem = map(argv[0], size);

	if (mremap(mem, size, 2 * size, MREMAP_MAYMOVE) != MAP_FAILED)
		wrong("mremap grew the mapping");
	return 0;
}

static sigjmp_buf on_sigbus;

static void sigbus(int signal)
{
	siglongjmp(on_sigbus, 1);
}

static void hold(uint32_t *mem)
{
	char line[16];

	signal(SIGBUS, sigbus);
	put(mem, 0x33333333);
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
	if (sigsetjmp(on_sigbus, 1)) {
		puts("SIGBUS");
		return;
	}
	put(mem, 0x44444444);
	puts(get(mem) == 0x44444444 ? "alive" : "changed");
}

static int cmd_hold(int argc, char **argv)
{
	hold(map(argv[0], number(argv[1])));
	return 0;
}

static int cmd_hole(int argc, char **argv)
{
	size_t size = number(argv[1]);
	uint32_t *mem = map(argv[0], size);

	set(mem, size, 0x55555555);
	unmap(mem + page_size / sizeof(*mem), page_size);
	expect(mem, page_size, 0x55555555, "the page before the hole");
	expect(mem + 2 * page_size / sizeof(*mem), size - 2 * page_size,
	       0x55555555, "the pages after the hole");
	hold(mem);
	return 0;
}

static int cmd_busy(int argc, char **argv)
{
	size_t size = number(argv[1]);
	void *mem = map(argv[0], size);
	int src = open_or_die(argv[2], O_RDONLY | O_DIRECT);
	unsigned long reads = 0;
	char byte;

	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	while (read(STDIN_FILENO, &byte, 1) < 0) {
		ssize_t len = pread(src, mem, size, 0);

		if (len < 0) {
			printf("error=%s ", strerror(errno));
			break;
		}
		/* A short one is cut off where the mapping ended meanwhile. */
		if (len != (ssize_t)size)
			continue;
		if (!reads++) {
			puts("ready");
			fflush(stdout);
		}
	}
	printf("reads=%lu\n", reads);
	return 0;
}

static void run_on(int cpu, int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setscheduler(0, policy, &param))
		die("scheduling");
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* A child that goes when its parent does, and keeps no pipe open */
static pid_t helper(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(STDOUT_FILENO);
	}
	return pid;
}

struct stall {
	int hold;	/* what the hog is to do, and what it does */
	int holding;
	int mapper;	/* whether it goes on mapping and unmapping */
};

static int load(int *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void store(int *word, int value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* Keeps what it mapped last, when it is told to stop, and so does a child. */
static void map_and_unmap(struct stall *stall, const char *file)
{
	int fd = open_or_die(file, O_RDWR);

	run_on(0, SCHED_IDLE, 0);
	for (;;) {
		void *mem = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);

		if (mem == MAP_FAILED || !load(&stall->mapper)) {
			helper();
			for (;;)
				pause();
		}
		unmap(mem, page_size);
	}
}

/* The CPU is its own while it is told so. */
static void hog(struct stall *stall)
{
	run_on(0, SCHED_FIFO, 1);
	for (;;) {
		while (load(&stall->hold))
			store(&stall->holding, 1);
		store(&stall->holding, 0);
		usleep(500);
	}
}

static void hold_cpu(struct stall *stall, int hold)
{
	store(&stall->hold, hold);
	while (load(&stall->holding) != hold)
		usleep(50);
}

/* What the file has, up to @size - 1 bytes */
static const char *contents(const char *file, char *buffer, size_t size)
{
	int fd = open_or_die(file, O_RDONLY);
	ssize_t len = read(fd, buffer, size - 1);

	if (len < 0)
		die(file);
	buffer[len] = '\0';
	close(fd);
	return buffer;
}

/*
 * Its memory is there, and the call of the driver is over, but not that of
 * mmap().  Call while it has no CPU.
 */
static bool between(pid_t mapper, const char *available, unsigned long whole)
{
	char stack[64], text[4096];

	snprintf(stack, sizeof(stack), "/proc/%d/stack", mapper);
	contents(stack, text, sizeof(text));
	return strstr(text, "mmap_region") && !strstr(text, "kernfs_fop_mmap") &&
	       strtoul(contents(available, text, sizeof(text)), NULL, 0) < whole;
}

static int cmd_stall(int argc, char **argv)
{
	struct stall *stall = mmap(NULL, sizeof(*stall), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char dir[256], available[512], allocate[512], text[64];
	double end = seconds() + number(argv[2]);
	pid_t mapper, hogger, unbinder, done;
	unsigned long whole, i;
	bool hit;
	int status;

	if (stall == MAP_FAILED)
		die("mmap");
	snprintf(dir, sizeof(dir), "%s/p2pmem", argv[0]);
	snprintf(available, sizeof(available), "%s/available", dir);
	snprintf(allocate, sizeof(allocate), "%s/allocate", dir);
	whole = strtoul(contents(available, text, sizeof(text)), NULL, 0);
	/* Helpers end with this process. */
	alarm(3 * number(argv[2]));
	run_on(1, SCHED_OTHER, 0);
	stall->mapper = 1;
	mapper = helper();
	if (!mapper)
		map_and_unmap(stall, allocate);
	hogger = helper();
	if (!hogger)
		hog(stall);

	for (i = 1; ; i++) {
		usleep(1000 + i % 100 * 10);
		hold_cpu(stall, 1);
		if (between(mapper, available, whole))
			break;
		hold_cpu(stall, 0);
		if (waitpid(-1, NULL, WNOHANG) > 0)
			wrong("a helper ended");
		if (seconds() >= end) {
			printf("missed in %lu tries\n", i);
			return 0;
		}
	}

	store(&stall->mapper, 0);
	unbinder = helper();
	if (!unbinder) {
		int fd;

		snprintf(allocate, sizeof(allocate), "%s/driver/unbind", argv[0]);
		fd = open_or_die(allocate, O_WRONLY);
		if (write(fd, argv[1], strlen(argv[1])) < 0)
			die(allocate);
		_exit(0);
	}
	/*
	 * The files go, and kernfs takes back what it sees. If the unbinding
	 * goes on after that, it waits for what it does not see. No longer
	 * than this: the scheduler lets nobody starve for a second.
	 */
	for (i = 0; i < 600 && !access(dir, F_OK); i += 10)
		usleep(10 * 1000);
	usleep(100 * 1000);
	done = waitpid(unbinder, &status, WNOHANG);
	hit = !done && access(dir, F_OK);
	hold_cpu(stall, 0);
	for (end = seconds() + number(argv[2]); !done; usleep(10 * 1000)) {
		if (seconds() >= end)
			wrong("a mapping that was being made was not taken back");
		done = waitpid(unbinder, &status, WNOHANG);
	}
	if (status)
		wrong("unbinding failed");
	puts(hit ? "hit" : "missed");
	return 0;
}

static int cmd_scribble(int argc, char **argv)
{
	size_t offset = argc > 2 ? number(argv[2]) : 0;
	struct stat st;
	uint32_t *mem;

	if (stat(argv[0], &st))
		die(argv[0]);
	if (offset % sizeof(*mem) || offset >= st.st_size)
		usage();
	mem = map(argv[0], st.st_size);
	set(mem + offset / sizeof(*mem), st.st_size - offset,
	    0x01010101 * (uint8_t)number(argv[1]));
	unmap(mem, st.st_size);
	return 0;
}

/* NVM Express Base 2.0, figure 88: opcode in byte 0, namespace in bytes 4-7 */
static int cmd_sqes(int argc, char **argv)
{
	int fd = open_or_die(argv[0], O_RDONLY);
	uint32_t nsid = number(argv[1]);
	uint32_t *mem;
	size_t found = 0;
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	mem = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < st.st_size / sizeof(*mem); i += 16) {
		uint8_t opcode = get(mem + i);

		if ((opcode == 1 || opcode == 2) && get(mem + i + 1) == nsid)
			found++;
	}
	printf("%zu\n", found);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	int min;
	int max;
} commands[] = {
	{ "map", cmd_map, 2, 3 },
	{ "fill", cmd_fill, 3, 3 },
	{ "copy", cmd_copy, 7, 7 },
	{ "fork", cmd_fork, 2, 2 },
	{ "grow", cmd_grow, 2, 2 },
	{ "protect", cmd_protect, 2, 2 },
	{ "hole", cmd_hole, 2, 2 },
	{ "hold", cmd_hold, 2, 2 },
	{ "busy", cmd_busy, 3, 3 },
	{ "stall", cmd_stall, 3, 3 },
	{ "scribble", cmd_scribble, 2, 3 },
	{ "sqes", cmd_sqes, 2, 2 },
};

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name) &&
		    argc - 2 >= commands[i].min && argc - 2 <= commands[i].max)
			return commands[i].run(argc - 2, argv + 2);
	usage();
}
