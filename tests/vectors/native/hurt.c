/* Ways to change a file that Python never sees. Built as a shared library and called through ctypes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char target[4096];

static void remember(const char *path) { snprintf(target, sizeof target, "%s", path); }
static void unlink_target(void) { unlink(target); }

static void *unlink_later(void *delay_us) {
    usleep((useconds_t)(uintptr_t)delay_us);
    unlink_target();
    return NULL;
}

static void on_signal(int number) { (void)number; unlink_target(); }

void at_library_exit(const char *path) { remember(path); atexit(unlink_target); }

int in_thread(const char *path, unsigned delay_us) {
    pthread_t thread;
    remember(path);
    return pthread_create(&thread, NULL, unlink_later, (void *)(uintptr_t)delay_us);
}

void join_briefly(void) { usleep(100000); }

void in_signal_handler(const char *path) {
    remember(path);
    signal(SIGUSR2, on_signal);
    raise(SIGUSR2);
}

void in_vfork(const char *path) {
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/rm", "rm", path, (char *)NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
}

void with_stdio(const char *path) {
    FILE *stream = fopen(path, "w");
    if (stream == NULL) return;
    fputs("gone", stream);
    fclose(stream);
}

void with_mapping(const char *path) {
    int descriptor = open(path, O_RDWR);
    char *bytes = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (bytes != MAP_FAILED) memcpy(bytes, "gone", 4);
}

#ifdef __x86_64__
/* The system call of a 32-bit program, whose pointers have 32 bits. */
void narrow_link(const char *from, const char *to) {
    char *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED) return;
    strncpy(low, from, 4095);
    strncpy(low + 4096, to, 4095);
    long result = 9; /* link */
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(low), "c"(low + 4096) : "r8", "r9", "r10", "r11", "memory");
}
#endif

/* One ring, one entry at a time: enough to show that no system call of ours names the file. */
struct ring {
    int descriptor;
    unsigned *tail, *mask, *array, *flags;
    struct io_uring_sqe *entries;
    int polled;
};

struct ring *ring_make(int polled) {
    struct io_uring_params facts;
    memset(&facts, 0, sizeof facts);
    if (polled) {
        facts.flags = IORING_SETUP_SQPOLL;
        facts.sq_thread_idle = 5000;
    }
    int descriptor = (int)syscall(SYS_io_uring_setup, 4, &facts);
    if (descriptor < 0) return NULL;
    size_t length = facts.sq_off.array + facts.sq_entries * sizeof(unsigned);
    char *queue = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, IORING_OFF_SQ_RING);
    struct ring *ring = calloc(1, sizeof *ring);
    ring->descriptor = descriptor;
    ring->polled = polled;
    ring->tail = (unsigned *)(queue + facts.sq_off.tail);
    ring->mask = (unsigned *)(queue + facts.sq_off.ring_mask);
    ring->array = (unsigned *)(queue + facts.sq_off.array);
    ring->flags = (unsigned *)(queue + facts.sq_off.flags);
    ring->entries = mmap(NULL, facts.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_POPULATE, descriptor, IORING_OFF_SQES);
    return ring;
}

static void submit(struct ring *ring, struct io_uring_sqe entry) {
    unsigned tail = *ring->tail, index = tail & *ring->mask;
    ring->entries[index] = entry;
    ring->array[index] = index;
    __atomic_store_n(ring->tail, tail + 1, __ATOMIC_RELEASE);
    if (!ring->polled) {
        syscall(SYS_io_uring_enter, ring->descriptor, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        return;
    }
    if (__atomic_load_n(ring->flags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP)
        syscall(SYS_io_uring_enter, ring->descriptor, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
    usleep(200000);
}

void ring_unlink(struct ring *ring, const char *path) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_UNLINKAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)path;
    if (ring != NULL) submit(ring, entry);
}

void ring_link(struct ring *ring, const char *from, const char *to) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_LINKAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)from;
    entry.len = (uint32_t)AT_FDCWD;
    entry.addr2 = (uint64_t)(uintptr_t)to;
    if (ring != NULL) submit(ring, entry);
}

void ring_truncate(struct ring *ring, const char *path) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_OPENAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)path;
    entry.open_flags = O_WRONLY | O_TRUNC;
    if (ring != NULL) submit(ring, entry);
}

void ring_rename(struct ring *ring, const char *from, const char *to) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_RENAMEAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)from;
    entry.len = (uint32_t)AT_FDCWD;
    entry.addr2 = (uint64_t)(uintptr_t)to;
    if (ring != NULL) submit(ring, entry);
}

void ring_mkdir(struct ring *ring, const char *path) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_MKDIRAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)path;
    entry.len = 0700;
    if (ring != NULL) submit(ring, entry);
}

void ring_symlink(struct ring *ring, const char *target, const char *path) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_SYMLINKAT;
    entry.fd = AT_FDCWD;
    entry.addr = (uint64_t)(uintptr_t)target;
    entry.addr2 = (uint64_t)(uintptr_t)path;
    if (ring != NULL) submit(ring, entry);
}

void ring_setxattr(struct ring *ring, const char *path) {
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_SETXATTR;
    entry.addr = (uint64_t)(uintptr_t)"user.mood";
    entry.addr2 = (uint64_t)(uintptr_t)"bad";
    entry.len = 3;
    entry.addr3 = (uint64_t)(uintptr_t)path;
    if (ring != NULL) submit(ring, entry);
}
