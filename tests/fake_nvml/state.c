/* Reads the state file again whenever it was replaced, and writes the call log. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 16384

struct entry {
    char *key;
    char *value;
    int next; /* in its bucket; -1 ends */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char state_path[4096];
static int log_fd = -1;
static struct stat seen;
static char *text; /* the file; entries point into it */
static struct entry *entries;
static int entry_count;
static int entry_room;
static int buckets[BUCKETS];
static double loaded_at;

static unsigned hash(const char *key)
{
    unsigned h = 2166136261u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h % BUCKETS;
}

unsigned long long state_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (unsigned long long)now.tv_sec * 1000000ull + (unsigned long long)now.tv_nsec / 1000ull;
}

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    char *end = s + strlen(s);
    while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        *--end = 0;
    return s;
}

static void forget(void)
{
    free(text);
    text = NULL;
    entry_count = 0;
    memset(buckets, -1, sizeof buckets);
}

static void parse(void)
{
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *comment = *line == '#' ? line : strstr(line, " #");
        if (comment)
            *comment = 0;
        char *equals = strchr(line, '=');
        if (!equals)
            continue;
        *equals = 0;
        if (entry_count == entry_room) {
            entry_room = entry_room ? 2 * entry_room : 256;
            entries = realloc(entries, sizeof *entries * (size_t)entry_room);
            if (!entries)
                abort();
        }
        struct entry *e = &entries[entry_count];
        e->key = trim(line);
        e->value = trim(equals + 1);
        unsigned bucket = hash(e->key);
        e->next = buckets[bucket]; /* a later line wins */
        buckets[bucket] = entry_count++;
    }
}

/* With the lock held. */
static void refresh(void)
{
    struct stat now;
    if (!state_path[0] || stat(state_path, &now) != 0) {
        if (text)
            forget();
        memset(&seen, 0, sizeof seen);
        return;
    }
    if (text && now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
        now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return;
    int fd = open(state_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    forget();
    fstat(fd, &seen);
    text = malloc((size_t)seen.st_size + 1);
    if (!text)
        abort();
    ssize_t got, filled = 0;
    while (filled < seen.st_size && (got = read(fd, text + filled, (size_t)(seen.st_size - filled))) > 0)
        filled += got;
    text[filled] = 0;
    close(fd);
    parse();
}

static const char *find(const char *key)
{
    for (int i = buckets[hash(key)]; i >= 0; i = entries[i].next)
        if (strcmp(entries[i].key, key) == 0)
            return entries[i].value;
    return NULL;
}

void state_configure(const char *path, const char *log_path)
{
    pthread_mutex_lock(&lock);
    forget();
    memset(&seen, 0, sizeof seen);
    snprintf(state_path, sizeof state_path, "%s", path ? path : "");
    if (log_fd >= 0)
        close(log_fd);
    log_fd = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    loaded_at = (double)state_now() / 1e6;
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void on_load(void)
{
    state_configure(getenv("FAKE_NVML_STATE"), getenv("FAKE_NVML_LOG"));
}

void state_refresh(void)
{
    pthread_mutex_lock(&lock);
    refresh();
    pthread_mutex_unlock(&lock);
}

void state_call(const char *function, int slot, const char *extra)
{
    char line[1024];
    state_refresh();
    if (log_fd < 0)
        return;
    int size = snprintf(line, sizeof line, "%d %s %d %s\n", (int)getpid(), function, slot, extra);
    if (size >= (int)sizeof line) {
        size = sizeof line - 1;
        line[size - 1] = '\n';
    }
    while (write(log_fd, line, (size_t)size) < 0 && errno == EINTR)
        ;
}

int state_text(char *out, size_t size, const char *format, ...)
{
    char key[256];
    va_list args;
    va_start(args, format);
    vsnprintf(key, sizeof key, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    const char *value = find(key);
    if (value)
        snprintf(out, size, "%s", value);
    pthread_mutex_unlock(&lock);
    return value != NULL;
}

static double since(void)
{
    char value[64];
    return state_text(value, sizeof value, "since") ? strtod(value, NULL) : loaded_at;
}

/* What a value's text means at this moment, and as an exact integer where it is one. */
static nvmlReturn_t evaluate(const char *value, int slot, double *out, unsigned long long *exact)
{
    double now = (double)state_now() / 1e6, a = 0, b = 0, c = 1;
    switch (value[0]) {
    case '!':
        return (nvmlReturn_t)atoi(value + 1);
    case '~':
        sscanf(value + 1, "%lf %lf %lf", &a, &b, &c);
        *out = a + b * sin(6.283185307179586 * (now / c + 0.13 * slot));
        *exact = *out < 0 ? 0 : (unsigned long long)*out;
        return NVML_SUCCESS;
    case '+':
        sscanf(value + 1, "%lf %lf", &a, &b);
        *out = a + b * (now - since());
        *exact = *out < 0 ? 0 : (unsigned long long)*out;
        return NVML_SUCCESS;
    default:
        *out = strtod(value, NULL);
        *exact = value[0] == '-' ? (unsigned long long)strtoll(value, NULL, 0) : strtoull(value, NULL, 0);
        return NVML_SUCCESS;
    }
}

static nvmlReturn_t number(int slot, const char *key, double *out, unsigned long long *exact)
{
    char value[256];
    if (!state_text(value, sizeof value, "%s", key))
        return NVML_ERROR_NOT_SUPPORTED;
    return evaluate(value, slot, out, exact);
}

nvmlReturn_t state_number(int slot, double *out, const char *format, ...)
{
    char key[256];
    unsigned long long ignored;
    va_list args;
    va_start(args, format);
    vsnprintf(key, sizeof key, format, args);
    va_end(args);
    return number(slot, key, out, &ignored);
}

nvmlReturn_t state_integer(int slot, unsigned long long *out, const char *format, ...)
{
    char key[256];
    double ignored;
    va_list args;
    va_start(args, format);
    vsnprintf(key, sizeof key, format, args);
    va_end(args);
    return number(slot, key, &ignored, out);
}

void state_each(const char *prefix, void (*visit)(const char *, const char *, void *), void *context)
{
    size_t length = strlen(prefix);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < entry_count; i++)
        if (strncmp(entries[i].key, prefix, length) == 0)
            visit(entries[i].key + length, entries[i].value, context);
    pthread_mutex_unlock(&lock);
}
