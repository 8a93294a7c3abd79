/* GPM: activity of a GPU or GPU instance between two samples. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>

#ifndef FLAVOUR_OLD
#define NOT_TAKEN (-1)

struct nvmlGpmSample_st {
    int slot;
    unsigned int instance; /* 0xFFFFFFFF: the whole GPU */
    unsigned long long at;
};

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support)
{
    unsigned int supported = 0;
    DEVICE(device);
    if (support->version != NVML_GPM_SUPPORT_VERSION)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t rc = narrow(&supported, slot, "gpm");
    if (rc != NVML_SUCCESS && rc != NVML_ERROR_NOT_SUPPORTED)
        return rc;
    support->isSupportedDevice = supported;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample)
{
    state_call(__func__, -1, "");
    *sample = malloc(sizeof **sample);
    if (!*sample)
        return NVML_ERROR_MEMORY;
    (*sample)->slot = NOT_TAKEN;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample)
{
    state_call(__func__, -1, "");
    if (!sample)
        return NVML_ERROR_INVALID_ARGUMENT;
    free(sample);
    return NVML_SUCCESS;
}

/* `gpm = 1` turns it on; in MIG mode it answers for GPU instances only. */
static nvmlReturn_t take(int slot, unsigned int instance, nvmlGpmSample_t sample)
{
    unsigned int supported = 0, mode = 0;
    if (narrow(&supported, slot, "gpm") != NVML_SUCCESS || !supported)
        return NVML_ERROR_NOT_SUPPORTED;
    narrow(&mode, slot, "mig.mode");
    if ((mode != 0) != (instance != 0xFFFFFFFFu))
        return NVML_ERROR_NOT_SUPPORTED;
    *sample = (struct nvmlGpmSample_st){slot, instance, state_now()};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample)
{
    DEVICE(device);
    return take(slot, 0xFFFFFFFFu, sample);
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned int instance, nvmlGpmSample_t sample)
{
    DEVICE(device);
    return take(slot, instance, sample);
}

static const char *name_of(unsigned int metric)
{
    switch (metric) {
    case NVML_GPM_METRIC_SM_UTIL: return "sm";
    case NVML_GPM_METRIC_ANY_TENSOR_UTIL: return "tensor";
    case NVML_GPM_METRIC_DRAM_BW_UTIL: return "dram";
    default: return "other";
    }
}

/* `gpu.0.gpm.sm = 42.5` percent, or `gpu.0.gi.3.gpm.sm` of a GPU instance. */
nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get)
{
    SYSTEM();
    const struct nvmlGpmSample_st *before = get->sample1, *after = get->sample2;
    if (get->version != NVML_GPM_METRICS_GET_VERSION)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!before || !after || before->slot == NOT_TAKEN || after->slot != before->slot ||
        after->instance != before->instance || after->at <= before->at)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned int i = 0; i < get->numMetrics; i++) {
        nvmlGpmMetric_t *metric = &get->metrics[i];
        const char *name = name_of(metric->metricId);
        if (after->instance == 0xFFFFFFFFu)
            metric->nvmlReturn = state_number(after->slot, &metric->value, "gpu.%d.gpm.%s", after->slot, name);
        else
            metric->nvmlReturn = state_number(after->slot, &metric->value, "gpu.%d.gi.%u.gpm.%s", after->slot,
                                              after->instance, name);
    }
    return NVML_SUCCESS;
}
#endif
