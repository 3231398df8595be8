import SwiftUI

/// A question, an answer that grows, and a button that stops it. The program is model.pte in the app's bundle.
struct ContentView: View {
    @State private var model: DiffulexModel?
    @State private var question = ""
    @State private var answer = ""
    @State private var work: Task<Void, Never>?

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            TextField("Ask", text: $question)
                .textFieldStyle(.roundedBorder)
            Button(work == nil ? "Answer" : "Stop") {
                if let running = work { running.cancel() } else { ask() }
            }
            .disabled(model == nil)
            ScrollView { Text(answer).frame(maxWidth: .infinity, alignment: .leading) }
        }
        .padding()
        .task { await open() }
    }

    private func open() async {
        guard let path = Bundle.main.path(forResource: "model", ofType: "pte") else {
            answer = "model.pte is not in the app's bundle"
            return
        }
        do {
            model = try await DiffulexModel(path: path)
        } catch {
            answer = error.localizedDescription
        }
    }

    private func ask() {
        guard let model else { return }
        answer = ""
        work = Task {
            do {
                for try await piece in model.generate(question) { answer += piece }
            } catch {
                answer = error.localizedDescription
            }
            work = nil
        }
    }
}
