package org.diffulex.edge

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.trySendBlocking
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.isActive
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/**
 * A program whose shapes never vary, in the official ExecuTorch runtime, decoded by DiffuLex Edge.
 *
 * Opening takes as long as reading the weights: do it on a background thread. An answer has the model to itself; others
 * wait for their turn.
 */
class DiffulexModel(path: String) : AutoCloseable {
    private val turn = ReentrantLock()
    private var handle: Long = Native.open(path.toByteArray(Charsets.UTF_8))

    /** The answer to a prompt, piece by piece. Cancelling the collector ends it behind the pass at work. */
    fun generate(prompt: String, maxNewTokens: Int = 128): Flow<String> = channelFlow {
        val listener = TextListener { utf8 ->
            isActive && (utf8.isEmpty() || trySendBlocking(String(utf8, Charsets.UTF_8)).isSuccess)
        }
        turn.withLock {
            check(handle != 0L) { "the model is closed" }
            Native.generate(handle, prompt.toByteArray(Charsets.UTF_8), maxNewTokens, listener)
        }
    }.buffer(64).flowOn(Dispatchers.Default)

    override fun close() = turn.withLock {
        Native.close(handle)
        handle = 0
    }
}
