/* Process lists and per-process utilisation. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FLAVOUR_535
/* The first 535 drivers widened the struct of _v3 and kept the name. */
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
    unsigned long long usedGpuCcProtectedMemory;
} process_v3_t;
#else
typedef nvmlProcessInfo_v2_t process_v3_t;
#endif

struct process {
    unsigned int pid;
    char types[8];
    unsigned long long memory;
    unsigned int gi, ci;
    unsigned int sm, mem, enc, dec;
    int sampled;
    unsigned long long at;
};

struct processes {
    struct process list[256];
    unsigned int count;
};

/* `gpu.0.process.4711 = C 1073741824 sm=40 mem=10 enc=0 dec=0 gi=1 ci=0 at=MICROSECONDS`; memory `-` is
 * not known; type `-` is in no list (a dead process that still has utilisation samples). The pid ends at
 * the first character that is no digit, so that 4711.b can be the same process in another instance. */
static void add_process(const char *rest, const char *value, void *context)
{
    struct processes *all = context;
    char copy[256], *words = copy, *word;
    if (all->count == 256)
        return;
    struct process *p = &all->list[all->count++];
    *p = (struct process){.gi = 0xFFFFFFFFu, .ci = 0xFFFFFFFFu, .memory = NO_VALUE, .at = state_now()};
    p->pid = (unsigned int)strtoul(rest, NULL, 10);
    snprintf(copy, sizeof copy, "%s", value);
    for (int i = 0; (word = strsep(&words, " ")); i++) {
        unsigned long long number = strchr(word, '=') ? strtoull(strchr(word, '=') + 1, NULL, 0) : 0;
        if (i == 0)
            snprintf(p->types, sizeof p->types, "%s", word);
        else if (i == 1 && *word != '-')
            p->memory = strtoull(word, NULL, 0);
        else if (strncmp(word, "sm=", 3) == 0)
            p->sm = (unsigned int)number, p->sampled = 1;
        else if (strncmp(word, "mem=", 4) == 0)
            p->mem = (unsigned int)number, p->sampled = 1;
        else if (strncmp(word, "enc=", 4) == 0)
            p->enc = (unsigned int)number, p->sampled = 1;
        else if (strncmp(word, "dec=", 4) == 0)
            p->dec = (unsigned int)number, p->sampled = 1;
        else if (strncmp(word, "gi=", 3) == 0)
            p->gi = (unsigned int)number;
        else if (strncmp(word, "ci=", 3) == 0)
            p->ci = (unsigned int)number;
        else if (strncmp(word, "at=", 3) == 0)
            p->at = number;
    }
}

static void processes_of(int slot, struct processes *all)
{
    char name[64];
    all->count = 0;
    snprintf(name, sizeof name, "gpu.%d.process.", gpu_of(slot));
    state_each(name, add_process, all);
    if (is_mig(slot)) { /* only those of its own instance */
        unsigned int gi = 0, ci = 0, kept = 0;
        narrow(&gi, slot, "gi");
        narrow(&ci, slot, "ci");
        for (unsigned int i = 0; i < all->count; i++)
            if (all->list[i].gi == gi && all->list[i].ci == ci)
                all->list[kept++] = all->list[i];
        all->count = kept;
    }
}

#define RUNNING(function, type, letter)                                                        \
    nvmlReturn_t function(nvmlDevice_t device, unsigned int *count, type *infos)               \
    {                                                                                          \
        struct processes all;                                                                  \
        unsigned int matching = 0, room = *count;                                              \
        DEVICE(device);                                                                        \
        processes_of(slot, &all);                                                              \
        for (unsigned int i = 0; i < all.count; i++) {                                         \
            if (!strchr(all.list[i].types, letter))                                            \
                continue;                                                                      \
            if (infos && matching < room) {                                                    \
                memset(&infos[matching], 0, sizeof infos[matching]);                           \
                infos[matching].pid = all.list[i].pid;                                         \
                infos[matching].usedGpuMemory = all.list[i].memory;                            \
                infos[matching].gpuInstanceId = all.list[i].gi;                                \
                infos[matching].computeInstanceId = all.list[i].ci;                            \
            }                                                                                  \
            matching++;                                                                        \
        }                                                                                      \
        *count = matching;                                                                     \
        return matching > (infos ? room : 0) ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;    \
    }

RUNNING(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, 'C')
RUNNING(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t, 'G')
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, 'M')
#ifndef FLAVOUR_OLD
RUNNING(nvmlDeviceGetComputeRunningProcesses_v3, process_v3_t, 'C')
RUNNING(nvmlDeviceGetGraphicsRunningProcesses_v3, process_v3_t, 'G')
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses_v3, process_v3_t, 'M')

/* Its presence tells a driver with confidential computing; a 535 has it without the next one. */
nvmlReturn_t nvmlDeviceGetConfComputeMemSizeInfo(nvmlDevice_t device, nvmlConfComputeMemSizeInfo_t *info)
{
    DEVICE(device);
    (void)info;
    return NVML_ERROR_NOT_SUPPORTED;
}
#ifndef FLAVOUR_535
nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_t *list)
{
    DEVICE(device);
    (void)list;
    return NVML_ERROR_NOT_SUPPORTED;
}
#endif
#endif

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen)
{
    struct processes all;
    unsigned int matching = 0, room = *count;
    DEVICE(device);
    processes_of(slot, &all);
    for (unsigned int i = 0; i < all.count; i++) {
        const struct process *p = &all.list[i];
        if (!p->sampled || p->at <= last_seen)
            continue;
        if (samples && matching < room)
            samples[matching] = (nvmlProcessUtilizationSample_t){p->pid, p->at, p->sm, p->mem, p->enc, p->dec};
        matching++;
    }
    *count = matching;
    if (matching == 0)
        return NVML_ERROR_NOT_FOUND;
    return !samples || matching > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
