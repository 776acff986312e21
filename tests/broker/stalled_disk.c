/* A disk that stands still: preload it, with FLOODMARK_STALL_FILE naming a file of one byte. While the byte is
 * not zero, whoever waits for the disk waits. Writes go to the page cache as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile char *stalled;

__attribute__((constructor)) static void open_switch(void) {
    const char *name = getenv("FLOODMARK_STALL_FILE");
    int file = name ? open(name, O_RDONLY) : -1;
    void *shared = file < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    stalled = shared;
    close(file);
}

static int wait_then(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    while (*stalled) usleep(10000);
    return real(file);
}

int fsync(int file) { return wait_then("fsync", file); }

int fdatasync(int file) { return wait_then("fdatasync", file); }
