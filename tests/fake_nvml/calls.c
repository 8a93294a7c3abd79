/* What every call goes through, and how values become answers. */
#define _GNU_SOURCE
#include "calls.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t session = PTHREAD_MUTEX_INITIALIZER;
static int users;                      /* nvmlInit calls not yet undone */
static unsigned long long opened_load; /* the driver load (`reload`) that the session belongs to */

void pause_ms(unsigned long long ms)
{
    struct timespec wait = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L};
    nanosleep(&wait, NULL);
}

/* `hang = forever` blocks until the state file lifts it, `hang = 1500` for so many milliseconds. */
void hang(const char *key)
{
    char value[64];
    while (state_text(value, sizeof value, "%s", key)) {
        if (strcmp(value, "forever") != 0) {
            pause_ms(strtoull(value, NULL, 10));
            return;
        }
        pause_ms(5);
        state_refresh();
    }
}

nvmlReturn_t scripted(const char *format, const char *function)
{
    char key[256];
    unsigned long long ignored;
    snprintf(key, sizeof key, format, function);
    char value[64];
    if (!state_text(value, sizeof value, "%s", key) || value[0] != '!')
        return NVML_SUCCESS;
    return state_integer(0, &ignored, "%s", key);
}

static unsigned long long driver_load(void)
{
    unsigned long long load = 0;
    state_integer(0, &load, "reload");
    return load;
}

int is_mig(int slot)
{
    return slot >= SLOTS;
}

int gpu_of(int slot)
{
    return slot % SLOTS;
}

const char *prefix(char out[32], int slot)
{
    if (is_mig(slot))
        snprintf(out, 32, "gpu.%d.mig.%d", gpu_of(slot), slot / SLOTS - 1);
    else
        snprintf(out, 32, "gpu.%d", slot);
    return out;
}

static nvmlReturn_t enter_with(const char *function, int slot, const char *extra)
{
    nvmlReturn_t rc;
    state_call(function, slot, extra);
    hang("hang");
    pthread_mutex_lock(&session);
    int open = users > 0 && opened_load == driver_load();
    pthread_mutex_unlock(&session);
    if (!open)
        return NVML_ERROR_UNINITIALIZED;
    if ((rc = scripted("*%.0s", "")) || (rc = scripted("call.%s", function)))
        return rc;
    return NVML_SUCCESS;
}

nvmlReturn_t enter(const char *function)
{
    return enter_with(function, -1, "");
}

nvmlReturn_t enter_device(const char *function, nvmlDevice_t device, const char *extra, int *slot)
{
    char key[256], mine[32], mig[96];
    nvmlReturn_t rc;
    if (device < devices || device >= devices + sizeof devices / sizeof *devices) {
        state_call(function, -1, "invalid handle");
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *slot = device->slot;
    int gpu = gpu_of(*slot);
    snprintf(mig, sizeof mig, "mig=%d %s", *slot / SLOTS - 1, extra);
    if ((rc = enter_with(function, gpu, is_mig(*slot) ? mig : extra)))
        return rc;
    snprintf(key, sizeof key, "gpu.%d.hang", gpu);
    hang(key);
    snprintf(key, sizeof key, "gpu.%d.hang.%s", gpu, function);
    hang(key);
    if (!visible(gpu))
        return NVML_ERROR_GPU_IS_LOST;
    snprintf(key, sizeof key, "gpu.%d.*", gpu);
    if ((rc = scripted("%s", key)))
        return rc;
    snprintf(key, sizeof key, "%s.uuid", prefix(mine, *slot));
    if (is_mig(*slot) && !state_text(mig, sizeof mig, "%s", key)) /* its instance was destroyed */
        return NVML_ERROR_INVALID_ARGUMENT;
    snprintf(key, sizeof key, "%s.call.%s", mine, function);
    return scripted("%s", key);
}

nvmlReturn_t text(char *out, unsigned int size, int slot, const char *name)
{
    char value[256], mine[32];
    if (!state_text(value, sizeof value, "%s.%s", prefix(mine, slot), name))
        return NVML_ERROR_NOT_SUPPORTED;
    if (value[0] == '!')
        return (nvmlReturn_t)atoi(value + 1);
    if (strlen(value) + 1 > size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(out, value);
    return NVML_SUCCESS;
}

nvmlReturn_t integer(unsigned long long *out, int slot, const char *name)
{
    char mine[32];
    return state_integer(slot, out, "%s.%s", prefix(mine, slot), name);
}

nvmlReturn_t narrow(unsigned int *out, int slot, const char *name)
{
    unsigned long long value;
    nvmlReturn_t rc = integer(&value, slot, name);
    if (rc == NVML_SUCCESS)
        *out = (unsigned int)value;
    return rc;
}

nvmlReturn_t pair(unsigned int *first, unsigned int *second, int slot, const char *a, const char *b)
{
    nvmlReturn_t rc = narrow(first, slot, a);
    if (rc == NVML_SUCCESS && (rc = narrow(second, slot, b)) == NVML_ERROR_NOT_SUPPORTED) {
        *second = *first;
        rc = NVML_SUCCESS;
    }
    return rc;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    nvmlReturn_t rc;
    (void)flags;
    state_call(__func__, -1, "");
    hang("hang");
    if ((rc = scripted("%s", "init")))
        return rc;
    pthread_mutex_lock(&session);
    if (opened_load != driver_load())
        users = 0;
    opened_load = driver_load();
    users++;
    pthread_mutex_unlock(&session);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t rc = NVML_SUCCESS;
    state_call(__func__, -1, "");
    pthread_mutex_lock(&session);
    if (users == 0)
        rc = NVML_ERROR_UNINITIALIZED;
    else
        users--;
    pthread_mutex_unlock(&session);
    return rc;
}
