// SPDX-License-Identifier: MIT
// Work off the main thread, as promises.
#ifndef BLKFILTER_WORKER_H
#define BLKFILTER_WORKER_H

#include <napi.h>

#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

// A failed system call. `syscall` and `request` are string literals.
struct SystemError : std::exception {
  SystemError(int error, const char* syscall, const char* request = nullptr)
      : error(error), syscall(syscall), request(request) {}

  const char* what() const noexcept override { return "system call failed"; }

  // What JavaScript gets to see; it makes the message and the hint out of this.
  void DescribeOn(const Napi::Object& target) const {
    target.Set("errno", -error);
    target.Set("syscall", syscall);
    if (request != nullptr) target.Set("request", request);
  }

  // For a call that is made at once, on the environment's own thread.
  Napi::Error ToError(Napi::Env env) const {
    Napi::Error thrown = Napi::Error::New(env, what());
    DescribeOn(thrown.Value());
    return thrown;
  }

  int error;
  const char* syscall;
  const char* request;
};

// Runs workers one after the other. A device has one, so that a device that is slow to answer holds one thread of the
// pool and not all of them. Belongs to the thread of its environment: no lock.
class SerialQueue {
 public:
  ~SerialQueue() { Drop(); }

  void Push(Napi::AsyncWorker* worker) {
    if (std::exchange(running_, true)) {
      waiting_.push_back(worker);
    } else {
      worker->Queue();
    }
  }

  // The running worker is done.
  void Next() {
    if (waiting_.empty()) {
      running_ = false;
      return;
    }
    Napi::AsyncWorker* next = waiting_.front();
    waiting_.pop_front();
    next->Queue();
  }

  // Nobody can see the results any more.
  void Drop() {
    for (Napi::AsyncWorker* worker : std::exchange(waiting_, {})) delete worker;
    running_ = false;
  }

 private:
  bool running_ = false;
  std::deque<Napi::AsyncWorker*> waiting_;
};

// Runs work(state) on a thread of the pool and then convert(env, state), whose value the promise resolves to, on the
// environment's own. `work` throws SystemError.
template <class State, class Work, class Convert>
class PromiseWorker final : public Napi::AsyncWorker {
 public:
  PromiseWorker(Napi::Env env, std::shared_ptr<SerialQueue> queue, State state, Work work, Convert convert)
      : Napi::AsyncWorker(env),
        queue_(std::move(queue)),
        state_(std::move(state)),
        work_(std::move(work)),
        convert_(std::move(convert)),
        deferred_(Napi::Promise::Deferred::New(env)),
        // Made now, so that its stack tells who called.
        error_(Napi::Error::New(env, "system call failed")) {}

  Napi::Promise Start() {
    Napi::Promise promise = deferred_.Promise();
    if (queue_) {
      queue_->Push(this);
    } else {
      Queue();
    }
    return promise;
  }

 protected:
  void Execute() override {
    try {
      work_(state_);
    } catch (const SystemError& failure) {
      failure_ = failure;
    } catch (const std::bad_alloc&) {
      failure_ = SystemError(ENOMEM, "malloc");
    }
  }

  void OnWorkComplete(Napi::Env env, napi_status) override {
    try {
      Napi::HandleScope scope(env);
      Settle(env);
      if (queue_) queue_->Next();
    } catch (...) {
      // The environment is being torn down, so no JavaScript runs any more. Letting the exception out would abort the
      // process; starting the workers that wait would only hold the teardown up.
      if (queue_) queue_->Drop();
    }
    Destroy();
  }

 private:
  void Settle(Napi::Env env) {
    if (failure_) {
      failure_->DescribeOn(error_.Value());
      deferred_.Reject(error_.Value());
      return;
    }
    try {
      deferred_.Resolve(convert_(env, state_));
    } catch (const SystemError& failure) {
      failure.DescribeOn(error_.Value());
      deferred_.Reject(error_.Value());
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

  std::shared_ptr<SerialQueue> queue_;
  State state_;
  Work work_;
  Convert convert_;
  Napi::Promise::Deferred deferred_;
  Napi::Error error_;
  std::optional<SystemError> failure_;
};

template <class State, class Work, class Convert>
Napi::Promise RunAsync(Napi::Env env, std::shared_ptr<SerialQueue> queue, State state, Work work, Convert convert) {
  auto* worker = new PromiseWorker<State, Work, Convert>(env, std::move(queue), std::move(state), std::move(work),
                                                         std::move(convert));
  return worker->Start();
}

#endif  // BLKFILTER_WORKER_H
