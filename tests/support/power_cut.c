/* What a disk holds of a database when the power fails: of every file only what it held at its last fsync.
 *
 * Loaded before the C library by LD_PRELOAD. Whenever a file under $POWER_CUT_FROM is synchronized, a copy of it is put
 * under the same name into $POWER_CUT_TO; whatever was written since is what a power cut may lose.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void keep(int descriptor)
{
    const char *from = getenv("POWER_CUT_FROM"), *to = getenv("POWER_CUT_TO");
    char link[64], path[PATH_MAX], half[PATH_MAX], whole[PATH_MAX], block[65536];
    if (!from || !to)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    size_t begin = strlen(from);
    if (strncmp(path, from, begin) || path[begin] != '/' || strchr(path + begin + 1, '/'))
        return;
    if (snprintf(whole, sizeof whole, "%s%s", to, path + begin) >= (int)sizeof whole)
        abort();
    if (snprintf(half, sizeof half, "%s.half", whole) >= (int)sizeof half)
        abort();
    int out = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0)
        abort();
    /* Read through the same descriptor: to close another one would drop the locks that SQLite holds on the file. */
    ssize_t count;
    for (off_t at = 0; (count = pread(descriptor, block, sizeof block, at)) > 0; at += count)
        if (write(out, block, count) != count)
            abort();
    if (count < 0 || close(out) || rename(half, whole))
        abort();
}

int fsync(int descriptor)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int result = real(descriptor);
    if (!result)
        keep(descriptor);
    return result;
}

int fdatasync(int descriptor)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(descriptor);
    if (!result)
        keep(descriptor);
    return result;
}
