import Foundation

/// An error of the library: its sentence can be shown as it is.
struct DiffulexError: LocalizedError {
    let status: dlx_status
    let message: String
    var errorDescription: String? { message }

    init(_ error: dlx_error) {
        status = error.status
        var copy = error
        message = withUnsafeBytes(of: &copy.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

/// A program whose shapes never vary, in the official ExecuTorch runtime, decoded by DiffuLex Edge.
///
/// An actor, because a model makes one answer at a time. Opening takes as long as reading the weights, and CoreML compiles the
/// program when it is loaded for the first time: both happen outside of the main thread.
actor DiffulexModel {
    private let runtime: OpaquePointer
    private let tokenizer: OpaquePointer

    init(path: String) async throws {
        var runtime: OpaquePointer?
        var tokenizer: OpaquePointer?
        var error = dlx_error()
        guard dlx_executorch_open(&runtime, path, &error) == DLX_OK, let opened = runtime else {
            throw DiffulexError(error)
        }
        guard dlx_tokenizer_open_pte(&tokenizer, path, &error) == DLX_OK, let words = tokenizer else {
            dlx_executorch_close(opened)
            throw DiffulexError(error)
        }
        self.runtime = opened
        self.tokenizer = words
    }

    deinit {
        dlx_tokenizer_close(tokenizer)
        dlx_executorch_close(runtime)
    }

    /// The answer to a prompt, piece by piece. Leaving the loop over it ends the decode behind the pass at work.
    nonisolated func generate(_ prompt: String, maxNewTokens: Int = 128) -> AsyncThrowingStream<String, Error> {
        AsyncThrowingStream { continuation in
            let task = Task {
                do {
                    try await self.decode(prompt, maxNewTokens: maxNewTokens) { piece in
                        if !piece.isEmpty { continuation.yield(piece) }
                        return !Task.isCancelled
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    /// `receive` gets each piece, and an empty one behind every pass; false ends the answer.
    private func decode(_ prompt: String, maxNewTokens: Int, receive: @escaping (String) -> Bool) throws {
        var error = dlx_error()
        var ids: UnsafeMutablePointer<Int32>?
        var count = 0
        var decode: OpaquePointer?
        var completion: OpaquePointer?
        defer {
            dlx_completion_free(completion)
            dlx_decode_options_free(decode)
            dlx_free(ids)
        }
        var status = encode(prompt, &ids, &count, &error)
        if status == DLX_OK { status = dlx_decode_options_create(&decode, &error) }
        if status == DLX_OK { status = dlx_decode_options_set(decode, "max_new_tokens", String(maxNewTokens), &error) }
        guard status == DLX_OK else { throw DiffulexError(error) }

        let receiver = Receiver(receive)
        var options = dlx_completion_options_default()
        options.decode = decode
        options.tokenizer = tokenizer
        options.fixed = dlx_executorch_session(runtime)    // what it holds of the prompt is not run again
        options.text_ctx = Unmanaged.passUnretained(receiver).toOpaque()
        options.step_ctx = options.text_ctx
        options.on_text = { context, text, count in
            let bytes = UnsafeRawBufferPointer(start: text, count: count)
            return Receiver.from(context).receive(String(decoding: bytes, as: UTF8.self))
        }
        options.on_step = { context, _, _, _ in Receiver.from(context).receive("") }
        let session = UnsafeMutableRawPointer(dlx_executorch_session(runtime))
        status = withExtendedLifetime(receiver) {
            dlx_complete(dlx_executorch_facts(runtime), dlx_fixed_forward, session, &options, ids, count, &completion, &error)
        }
        guard status == DLX_OK else { throw DiffulexError(error) }
    }

    private func encode(_ text: String, _ ids: inout UnsafeMutablePointer<Int32>?, _ count: inout Int,
                        _ error: inout dlx_error) -> dlx_status {
        guard dlx_tokenizer_has_chat_template(tokenizer) else {
            return text.withCString { dlx_tokenizer_encode(tokenizer, $0, strlen($0), Int32(DLX_ENCODE_PLAIN.rawValue), &ids,
                                                           &count, &error) }
        }
        return text.withCString { content in
            "user".withCString { role in
                var question = dlx_chat_message()
                question.struct_size = MemoryLayout<dlx_chat_message>.size
                question.role = role
                question.content = content
                var chat = dlx_chat_options()
                chat.struct_size = MemoryLayout<dlx_chat_options>.size
                chat.add_generation_prompt = true
                return dlx_chat_encode(tokenizer, &question, 1, &chat, &ids, &count, &error)
            }
        }
    }
}

/// What C hands back to Swift.
private final class Receiver {
    let receive: (String) -> Bool

    init(_ receive: @escaping (String) -> Bool) {
        self.receive = receive
    }

    static func from(_ context: UnsafeMutableRawPointer?) -> Receiver {
        Unmanaged<Receiver>.fromOpaque(context!).takeUnretainedValue()
    }
}
