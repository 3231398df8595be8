/*
 * Program and Method of the official runtime behind a dlx_fixed_session. Inputs are tensors over the session's memory,
 * made once; outputs are read where the method has them. So nothing is copied but what the runtime itself copies.
 */
#include "dlx_executorch.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <executorch/runtime/core/data_loader.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/core/memory_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

namespace et = executorch::runtime;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;

namespace {

/* Behind what XNNPACK reads and writes: its vectors go on. */
constexpr size_t DLX_SLACK = 64;

dlx_status fail(dlx_error *err, dlx_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        std::vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

/* What the runtime said, as a status of the library's. */
dlx_status said(dlx_error *err, const char *what, const char *name, et::Error error)
{
    dlx_status status = DLX_E_INTERNAL;
    if (error == et::Error::NotFound || error == et::Error::OperatorMissing || error == et::Error::NotSupported)
        status = DLX_E_UNSUPPORTED;
    if (error == et::Error::MemoryAllocationFailed) status = DLX_E_NOMEM;
    if (error == et::Error::InvalidProgram) status = DLX_E_FORMAT;
    return fail(err, status, "ExecuTorch: %s of '%s' failed with %s; its log says why (is the backend linked in?)",
                what, name, et::to_string(error));
}

/* Ranges of a file, mapped page by page while somebody needs them. */
class MappedFile final : public et::DataLoader {
  public:
    ~MappedFile() override
    {
        if (fd_ >= 0) close(fd_);
    }

    bool open_at(const char *path)
    {
        struct stat st;
        fd_ = open(path, O_RDONLY | O_CLOEXEC);
        if (fd_ < 0 || fstat(fd_, &st) != 0) return false;
        size_ = static_cast<size_t>(st.st_size);
        return true;
    }

    et::Result<et::FreeableBuffer> load(size_t offset, size_t size, const SegmentInfo &) const override
    {
        if (offset > size_ || size > size_ - offset) return et::Error::InvalidArgument;
        if (size == 0) return et::FreeableBuffer(nullptr, 0, nullptr);
        size_t begin = offset - offset % page();
        void *p = mmap(nullptr, offset + size - begin, PROT_READ, MAP_PRIVATE, fd_, static_cast<off_t>(begin));
        if (p == MAP_FAILED) return et::Error::AccessFailed;
        return et::FreeableBuffer(static_cast<char *>(p) + (offset - begin), size, unmap);
    }

    et::Error load_into(size_t offset, size_t size, const SegmentInfo &, void *buffer) const override
    {
        char *at = static_cast<char *>(buffer);
        for (ssize_t n; size > 0; at += n, offset += static_cast<size_t>(n), size -= static_cast<size_t>(n)) {
            n = pread(fd_, at, size, static_cast<off_t>(offset));
            if (n <= 0) return et::Error::AccessFailed;
        }
        return et::Error::Ok;
    }

    et::Result<size_t> size() const override
    {
        return size_;
    }

  private:
    static size_t page()
    {
        return static_cast<size_t>(sysconf(_SC_PAGESIZE));
    }

    static void unmap(void *, void *data, size_t size)
    {
        size_t before = reinterpret_cast<uintptr_t>(data) % page();
        munmap(static_cast<char *>(data) - before, size + before);
    }

    int fd_ = -1;
    size_t size_ = 0;
};

/* What a method keeps: pieces of the heap, given back together. */
class Heap final : public et::MemoryAllocator {
  public:
    Heap() : MemoryAllocator(0, nullptr)
    {
    }
    ~Heap() override
    {
        for (void *p : pieces_) std::free(p);
    }

    void *allocate(size_t size, size_t alignment = kDefaultAlignment) override
    {
        void *p = nullptr;
        if (alignment < sizeof(void *)) alignment = sizeof(void *);
        if (posix_memalign(&p, alignment, size ? size : 1) != 0) return nullptr;
        pieces_.push_back(p);
        return p;
    }

  private:
    std::vector<void *> pieces_;
};

/* A tensor over memory of the session. */
struct Input {
    explicit Input(const dlx_tensor &t)
    {
        int64_t stride = 1;
        for (int d = t.rank - 1; d >= 0; d--) {
            sizes[d] = static_cast<TensorImpl::SizesType>(t.size[d]);
            order[d] = static_cast<TensorImpl::DimOrderType>(d);
            strides[d] = static_cast<TensorImpl::StridesType>(stride);
            stride *= t.size[d];
        }
        /* dlx_element has the numbers of ScalarType. */
        impl.emplace(static_cast<executorch::aten::ScalarType>(t.element), t.rank, sizes, t.data, order, strides);
    }

    TensorImpl::SizesType sizes[DLX_TENSOR_MAX_RANK];
    TensorImpl::DimOrderType order[DLX_TENSOR_MAX_RANK];
    TensorImpl::StridesType strides[DLX_TENSOR_MAX_RANK];
    std::optional<TensorImpl> impl;
};

/* A method with its memory, which it outlives by being the last member. */
struct LoadedMethod {
    const char *name = nullptr;
    Heap heap;
    std::vector<et::Span<uint8_t>> arenas;
    std::optional<et::HierarchicalAllocator> planned;
    std::optional<et::MemoryManager> manager;
    std::vector<std::unique_ptr<Input>> inputs;
    std::unique_ptr<et::Method> method;
};

dlx_status load_method(LoadedMethod &m, const et::Program &program, const char *name, dlx_error *err)
{
    m.name = name;
    et::Result<et::MethodMeta> meta = program.method_meta(name);
    if (!meta.ok()) return said(err, "method_meta", name, meta.error());
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
        et::Result<int64_t> size = meta->memory_planned_buffer_size(i);
        if (!size.ok()) return said(err, "memory_planned_buffer_size", name, size.error());
        void *p = m.heap.allocate(static_cast<size_t>(*size) + DLX_SLACK, 64);
        if (!p) return fail(err, DLX_E_NOMEM, "out of memory: method '%s' plans %lld bytes", name, (long long)*size);
        m.arenas.emplace_back(static_cast<uint8_t *>(p), static_cast<size_t>(*size));
    }
    m.planned.emplace(et::Span<et::Span<uint8_t>>(m.arenas.data(), m.arenas.size()));
    m.manager.emplace(&m.heap, &*m.planned);
    et::Result<et::Method> method = program.load_method(name, &*m.manager);
    if (!method.ok()) return said(err, "load_method", name, method.error());
    m.method = std::make_unique<et::Method>(std::move(*method));
    /* Outputs that the program has no place for get one here. */
    for (size_t i = 0; i < meta->num_outputs(); i++) {
        et::Result<et::TensorInfo> info = meta->output_tensor_meta(i);
        if (!info.ok()) return said(err, "output_tensor_meta", name, info.error());
        if (info->is_memory_planned()) continue;
        void *p = m.heap.allocate(info->nbytes() + DLX_SLACK, 64);
        if (!p)
            return fail(err, DLX_E_NOMEM, "out of memory: output %zu of method '%s' takes %zu bytes", i, name,
                        info->nbytes());
        et::Error error = m.method->set_output_data_ptr(p, info->nbytes(), i);
        if (error != et::Error::Ok) return said(err, "set_output_data_ptr", name, error);
    }
    return DLX_OK;
}

} // namespace

struct dlx_executorch {
    MappedFile file;
    std::optional<et::Program> program;
    dlx_fixed_program *description = nullptr;
    std::vector<std::unique_ptr<LoadedMethod>> methods;
    dlx_fixed_session *session = nullptr;

    ~dlx_executorch()
    {
        dlx_fixed_close(session);
        methods.clear(); /* in front of the program that they came from */
        dlx_fixed_program_free(description);
    }
};

namespace {

/* The dlx_fixed_run_fn. */
dlx_status run(void *ctx, size_t index, const void **outputs, dlx_error *err)
{
    LoadedMethod &m = *static_cast<dlx_executorch *>(ctx)->methods[index];
    for (size_t i = 0; i < m.inputs.size(); i++) {
        et::Error error = m.method->set_input(et::EValue(Tensor(&*m.inputs[i]->impl)), i);
        if (error != et::Error::Ok) return said(err, "set_input", m.name, error);
    }
    et::Error error = m.method->execute();
    if (error != et::Error::Ok) return said(err, "execute", m.name, error);
    for (size_t i = 0; i < m.method->outputs_size(); i++) {
        const et::EValue &value = m.method->get_output(i);
        if (!value.isTensor()) return fail(err, DLX_E_FORMAT, "output %zu of method '%s' is no tensor", i, m.name);
        outputs[i] = value.toTensor().const_data_ptr();
    }
    return DLX_OK;
}

dlx_status bind_inputs(dlx_executorch *model, size_t index, dlx_error *err)
{
    LoadedMethod &m = *model->methods[index];
    size_t caches = 2 * static_cast<size_t>(model->description->layers); /* none where the program keeps them */
    size_t n = model->description->keeps_cache ? 4 : 3 + caches;
    if (m.method->inputs_size() != n || m.method->outputs_size() != 1 + caches)
        return fail(err, DLX_E_FORMAT, "method '%s' has %zu inputs and %zu outputs; expected %zu and %zu", m.name,
                    m.method->inputs_size(), m.method->outputs_size(), n, 1 + caches);
    for (size_t i = 0; i < n; i++) {
        dlx_tensor t = {};
        t.struct_size = sizeof t;
        dlx_status s = dlx_fixed_input(model->session, index, i, &t, err);
        if (s != DLX_OK) return s;
        m.inputs.push_back(std::make_unique<Input>(t));
    }
    return DLX_OK;
}

dlx_status open_model(dlx_executorch *model, const char *path, dlx_error *err)
{
    dlx_status s = dlx_fixed_program_read(&model->description, path, err);
    if (s != DLX_OK) return s;
    et::runtime_init();
    if (!model->file.open_at(path)) return fail(err, DLX_E_IO, "'%s' cannot be opened", path);
    et::Result<et::Program> program = et::Program::load(&model->file, et::Program::Verification::InternalConsistency);
    if (!program.ok()) return said(err, "Program::load", path, program.error());
    model->program.emplace(std::move(*program));
    for (size_t i = 0; s == DLX_OK && i < model->description->n_methods; i++) {
        model->methods.push_back(std::make_unique<LoadedMethod>());
        s = load_method(*model->methods.back(), *model->program, model->description->method_names[i], err);
    }
    if (s == DLX_OK) s = dlx_fixed_open(&model->session, model->description, run, model, nullptr, err);
    for (size_t i = 0; s == DLX_OK && i < model->methods.size(); i++) s = bind_inputs(model, i, err);
    return s;
}

} // namespace

dlx_status dlx_executorch_open(dlx_executorch **out, const char *path, dlx_error *err)
{
    if (out) *out = nullptr;
    if (!out || !path)
        return fail(err, DLX_E_INVALID, "dlx_executorch_open: a path and a place for the model are needed");
    try {
        std::unique_ptr<dlx_executorch> model = std::make_unique<dlx_executorch>();
        dlx_status s = open_model(model.get(), path, err);
        if (s == DLX_OK) *out = model.release();
        return s;
    } catch (const std::bad_alloc &) {
        return fail(err, DLX_E_NOMEM, "out of memory opening '%s'", path);
    }
}

void dlx_executorch_close(dlx_executorch *model)
{
    delete model;
}

const dlx_model_facts *dlx_executorch_facts(const dlx_executorch *model)
{
    return model ? model->description->facts : nullptr;
}

dlx_fixed_session *dlx_executorch_session(dlx_executorch *model)
{
    return model ? model->session : nullptr;
}
